"""Which language a text is in, by its script, and for Latin and Cyrillic letters by its most common small words.

"I don't know" (None) is an answer: of a word or two, of code, of a language that is not known here. Read are the first MAX_CHARS.
"""

import re

MAX_CHARS = 2048
LEAST_LETTERS = 2
LEAST_WORDS = 2
LEAST_SHARE = 0.05
"""Of the different words of a text in one of these languages, those listed are a tenth to a half."""

IDEOGRAM_LETTERS = 2
"""A Chinese, Japanese or Korean character says as much as so many letters at least."""

_SCRIPTS = (
    ("ko", re.compile("[\uac00-\ud7a3\u1100-\u11ff]")),
    ("ja", re.compile("[\u3040-\u30ff]")),
    ("zh", re.compile("[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]")),
    ("he", re.compile("[\u0590-\u05ff]")),
    ("ar", re.compile("[\u0600-\u06ff\u0750-\u077f]")),
    ("hi", re.compile("[\u0900-\u097f]")),
    ("bn", re.compile("[\u0980-\u09ff]")),
    ("ta", re.compile("[\u0b80-\u0bff]")),
    ("te", re.compile("[\u0c00-\u0c7f]")),
    ("th", re.compile("[\u0e00-\u0e7f]")),
    ("ka", re.compile("[\u10a0-\u10ff\u1c90-\u1cbf]")),
    ("hy", re.compile("[\u0530-\u058f]")),
    ("el", re.compile("[\u0370-\u03ff]")),
    ("ru", re.compile("[\u0400-\u04ff]")),
)
_LATIN = re.compile("[a-z\u00c0-\u024f\u1e00-\u1eff]", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")

_SMALL_WORDS = {
    # without the words of programming languages
    "en": "the of to that it you what how are this my can be an on do does please why which would could should there",
    "de": "der die das und ist ich nicht ein eine zu den mit von wie für auf sie es im dem des sind wird was bitte mir",
    "fr": "le la les de des et est un une que qui dans pour pas je vous ce il elle du en comment avec sur au mon quelle",
    "es": "el la los las de y es un una que en por con para no se del cómo qué mi lo su al está más como puedo",
    "pt": "o a os as de e é um uma que em por com para não se do da no na como meu minha você está mais dos",
    "it": "il lo la gli di e è un una che in per con non si del della come cosa mi sono questo nel alla più dei",
    "nl": "de het een en van is dat ik niet in op te voor met zijn hoe wat je aan er naar ook als bij mijn",
    "sv": "och att det i en som är på jag för inte med av den ett hur vad kan till om har du de var min",
    "da": "og at det i en som er på jeg for ikke med af den et hvordan hvad kan til om har du de var min",
    "no": "og at det i en som er på jeg for ikke med av den et hvordan hva kan til om har du de var min",
    "fi": "ja on ei se että en oli hän mutta niin kun kuin mitä miten minä sinä tämä voi ole joka myös",
    "pl": "i w nie na się to jest z do że jak co po o ale za od czy przez mi dla są tego proszę",
    "cs": "a je se na to v že s do z o jak co ale za by jsem pro tak jsou nebo jako když prosím",
    "tr": "ve bir bu için ile de da ne mi nasıl ben çok var gibi ama daha olan olarak değil mı",
    "ro": "și de la în o un pe nu cu este care ce să din pentru mai cum sau ca sunt al unei vă",
    "hu": "a az és hogy nem egy is van ez de meg mi csak el hogyan mint vagy már én kell azt",
    "id": "yang dan di ini itu dengan untuk tidak dari dalam apa bagaimana saya adalah ke pada bisa akan juga",
    "vi": "là và của có cho không một các được tôi này trong với những như thế nào gì bạn để người",
    "ru": "и в не на я что с как это по но из у за то он она мы вы для так же или мне если какой",
    "uk": "і в не на я що з як це по але із у за то він вона ми ви для так або мені якщо який та є",
    "bg": "и в не на аз че с как това по но от у за то той тя ние вие за така или ми ако са е да се",
}
_LISTS = {language: frozenset(words.split()) for language, words in _SMALL_WORDS.items()}
_CYRILLIC = ("ru", "uk", "bg")
_LETTERS = {
    "uk": frozenset("іїєґ"),
    "ru": frozenset("ыэё"),
    "fa": frozenset("پچژگک\u06cc"),
    "ur": frozenset("ٹڈڑےں"),
}


def language_of(text: str) -> str | None:
    """ISO 639-1."""
    text = text[:MAX_CHARS]
    letters = {"": len(_LATIN.findall(text))}
    if not text.isascii():
        letters |= {language: len(script.findall(text)) for language, script in _SCRIPTS}
        if letters["ja"] * 10 >= letters["zh"]:  # half of Japanese is written in Chinese characters
            letters["ja"] += letters.pop("zh") if letters["ja"] else 0
        for language in ("ko", "ja", "zh"):
            letters[language] = letters.get(language, 0) * IDEOGRAM_LETTERS
    found = max(letters, key=letters.__getitem__)
    if letters[found] < LEAST_LETTERS:
        return None
    if found == "":
        return _by_words(text, tuple(language for language in _LISTS if language not in _CYRILLIC))
    if found == "ru":
        return _cyrillic(text)
    if found == "ar":
        return _arabic(text)
    return found


def _by_words(text: str, languages: tuple[str, ...]) -> str | None:
    words = frozenset(_WORD.findall(text.lower()))
    counts = {language: len(words & _LISTS[language]) for language in languages}
    best, second = sorted(counts, key=counts.__getitem__, reverse=True)[:2]
    if counts[best] < max(LEAST_WORDS, LEAST_SHARE * len(words)) or counts[best] == counts[second]:
        return None
    return best


def _cyrillic(text: str) -> str | None:
    letters = {language: sum(text.count(each) for each in _LETTERS[language]) for language in ("ru", "uk")}
    if letters["uk"] != letters["ru"]:
        return max(letters, key=letters.__getitem__)
    return _by_words(text, _CYRILLIC)


def _arabic(text: str) -> str:
    if any(each in text for each in _LETTERS["ur"]):
        return "ur"
    persian = sum(text.count(each) for each in "پچژگ")
    return "fa" if persian else "ar"
