"""Words that tell what kind of work a prompt asks for, in several languages, each under the concept that it names.

A weight is learned for the concept, mostly from English, and serves all its languages. Words of scripts with spaces are matched
whole; Chinese, Japanese, Korean and Thai ones as pairs of characters, so they have two characters each.
"""

# ruff: noqa: RUF001 - Cyrillic words are meant to be Cyrillic

from typing import Final

CONCEPTS: Final[dict[str, str]] = {
    "code": (
        "def class return import function const var public static void select from where printf println int "
        "float string array list dict tuple print lambda async await null none true false elif else self "
        "struct template std cout console log regex python javascript typescript java sql bash rust golang "
        "html css script algorithm debug bug compile api refactor code coding program programming assert "
        "kubernetes docker mutex deadlock thread concurrency algorithmus programmiere funktion алгоритм "
        "функцию функция программу код кода algoritmo función código algorithme fonction خوارزمية كود دالة "
        "代码 算法 函数 编程 程序 コード 関数 実装 알고 코드 함수"
    ),
    "maths": (
        "integer integers prime primes polynomial matrix vector vectors derivative integral equation "
        "equations probability triangle angle sum product remainder modulo group ring field subgroup "
        "isomorphism eigenvalue eigenvalues converge converges sequence theorem proof root roots circle "
        "square radius area perimeter ratio fraction divided multiple digit digits factor factors graph "
        "continuous differentiable positive negative real complex set finite infinite functions sin cos tan "
        "sqrt frac gleichung wahrscheinlichkeit ableitung primzahl primzahlen satz теорема теорему уравнение "
        "матрица матрицы вероятность интеграл производную функции простых чисел ecuación probabilidad "
        "derivada teorema matrice probabilité théorème intégrale معادلة احتمال مصفوفة تكامل مبرهنة 方程 矩阵 "
        "概率 积分 定理 导数 素数 质数 連続 行列 確率 積分 방정 행렬 확률 적분 정리 소수"
    ),
    "physics": (
        "velocity acceleration force mass energy voltage current resistance temperature pressure entropy "
        "enthalpy wavelength frequency electron proton photon charge magnetic circuit molar reaction "
        "equilibrium acid base ion bond orbital oxidation solution concentration gas moles kelvin joules "
        "newton volt amp ohm energie geschwindigkeit энергия энергии скорость температуры energía velocidad "
        "énergie vitesse طاقة سرعة 能量 速度 温度 热力 量子 エネ 에너 속도 양자"
    ),
    "units": (
        "kg mg ml cm mm km hours hour minutes minute seconds second days day weeks week months month miles "
        "mile feet inches years year dollars dollar cents percent pounds meters liters grams stunden minuten "
        "tage euro часов часа минут дней рублей horas minutos días euros heures jours ساعة دقيقة يوم 小时 "
        "分钟 公里 時間 시간 킬로"
    ),
    "who": (
        "who when where which whom whose wer wann wo welche кто когда где какой qui quand où quién cuándo "
        "dónde من متى أين 什么 哪里 谁是 いつ どこ 누구 언제 어디"
    ),
    "what": "what was что qué quoi quel quelle ما 무엇 何で",
    "why": (
        "why how warum wieso wie почему как зачем pourquoi comment por cómo لماذا كيف 为什 如何 怎么 なぜ "
        "どう 어떻 왜"
    ),
    "explain": (
        "explain describe discuss compare contrast analyze analyse evaluate justify critique elaborate derive "
        "prove demonstrate reason reasoning argue assess interpret erkläre erläutere beschreibe vergleiche "
        "analysiere begründe beweise beweisen объясни объясните докажи докажите сравни сравните проанализируй "
        "опиши выведи обоснуй explica explique compara demuestra analiza deriva démontrer démontrez analysez "
        "décrivez اشرح قارن أثبت حلل 证明 解释 分析 比较 推导 说明 証明 説明 比較 증명 설명 비교 분석 도출"
    ),
    "write": (
        "write compose draft create generate design develop produce make build implement optimize plan "
        "schreibe entwerfe entwickle implementiere erstelle напиши напишите разработай спроектируй реализуй "
        "создай escribe diseña implementa crea écris écrivez concevez rédige اكتب صمم أنشئ 设计 实现 编写 "
        "写一 優化 优化 設計 書い 설계 구현 작성"
    ),
    "creative": (
        "story poem essay song lyrics blog email letter slogan haiku screenplay dialogue character novel "
        "fiction geschichte gedicht рассказ стих письмо historia poema histoire poème قصة قصيدة 故事 诗歌 "
        "邮件 物語 手紙 이야 편지"
    ),
    "rewrite": (
        "rewrite rephrase paraphrase summarize summarise summary translate proofread edit classify extract "
        "convert list sort shorten übersetze zusammenfassen переведи переведите перевод traduce traduis "
        "traduisez resume ترجم لخص 翻译 总结 翻訳 要約 번역 요약"
    ),
    "steps": (
        "first third then next after before finally step steps schritt zuerst danach сначала затем шаг "
        "primero luego étape ensuite أولا ثم 首先 然后 步骤 まず 먼저 단계"
    ),
    "condition": (
        "if unless assuming suppose given provided except not never neither nor without however although wenn "
        "falls angenommen ohne если пусть предположим без si suponga suposons sans sauf إذا بدون افترض 如果 "
        "假设 除非 もし 仮定 만약 가정"
    ),
    "constraint": (
        "must should exactly only within between limit ensure include format json table words maximum minimum "
        "least most each every muss genau nur höchstens mindestens должен должна ровно только каждый минимум "
        "debe exactamente cada mínimo doit exactement chaque يجب فقط كل 必须 至少 最多 每个 必ず 최소 최대 "
        "반드"
    ),
    "superlative": "best closest primary likely correct following",
    "role": "you act pretend imagine role assistant",
    "please": (
        "please thanks thank hi hello hey hallo danke bitte guten morgen tschüss привет спасибо пожалуйста "
        "здравствуйте hola gracias bonjour merci salut ciao grazie olá obrigado مرحبا شكرا السلام 你好 谢谢 "
        "こん あり おは 안녕 감사"
    ),
    "first-person": "i my me we our ich wir mein я мой мы yo mi je mon nous أنا 我的 我们 저는 제가",
    "third-person": "he she his her they their him er ihr он она его её él ella il elle elles هو هي 他的 她的 그는 그녀",
    "logic": (
        "statement statements argument premise premises conclusion fallacy valid invalid symbolize "
        "translation predicate proposition logic clue clues contradiction entails implies paradox widerspruch "
        "логика противоречие lógica logique منطق 逻辑 矛盾 論理 논리 모순"
    ),
    "law": (
        "plaintiff defendant contract statute court liable liability constitutional amendment jurisdiction "
        "trial jury criminal legal attorney vertrag gericht договор суд контракт contrato tribunal contrat "
        "عقد محكمة 合同 法律 契約 법률 계약"
    ),
    "medicine": (
        "patient diagnosis symptoms symptom treatment disease clinical therapy doctor hospital blood cell "
        "cells gene protein drug infection cancer diagnose patienten пациент пациента диагноз лечение "
        "paciente tratamiento traitement مريض علاج 患者 诊断 治疗 治療 환자 치료"
    ),
    "humanities": (
        "history century war empire king president government political policy society culture philosophy "
        "moral ethical religion book author novel"
    ),
    "business": (
        "company market price cost revenue profit demand supply firm tax interest income capital stock "
        "accounting inflation"
    ),
    "naming": (
        "name define called capital color colour famous country city animal word meaning synonym hauptstadt "
        "столица capitale عاصمة 首都 수도 意思"
    ),
    "stop": (
        "the of and a to in is that for it as with be by on are this an or at der die das und ist nicht "
        "ein eine zu von mit für auf dass den dem le les et est un une des du que dans pour sur en el los "
        "las es de por con del lo il gli che di è e o da do não и в не на с по к из для это как то что "
        "في على أن إلى هذا و عن"
    ),
}
"""Each concept's words, separated by spaces."""

PHRASES: Final[dict[str, tuple[str, ...]]] = {
    "how many": (
        "how many",
        "how much",
        "how long",
        "how far",
        "how old",
        "wie viele",
        "wie viel",
        "сколько всего",
        "combien de",
    ),
    "show that": (
        "step by",
        "by step",
        "show that",
        "prove that",
        "such that",
        "let be",
        "zeige dass",
        "покажите что",
        "montrer que",
    ),
    "negation": ("is not", "are not", "not true", "all of", "none of", "of these", "of the", "which of"),
    "in each": (
        "each of",
        "more than",
        "less than",
        "twice as",
        "half of",
        "as many",
        "at least",
        "at most",
        "no more",
    ),
}
"""Each concept's pairs of words."""
