"""What of a user's turn is the question: without what was pasted around it, or said to steer the choice of a model.

Removed are blocks in tags such as `<context>`, what stands between "Context:" and "Question:", lines of tables and logs,
long tokens without a space (base64, minified JSON), and sentences about routing. Each step reads the bounded text once.
Where nothing would be left, a step leaves all. And what is no question: follow-ups, and what cannot be read.
"""

# ruff: noqa: RUF001, SIM905 - words of languages are what they are, and a text of words reads better than a list

import re
from typing import Final

_TAGS: Final = (
    "context documents document doc docs source sources passage passages article file files attachment search_results "
    "search_result results snippet snippets knowledge background data tool_result tool_response function_results"
).split()
_BLOCKS: Final = 16
"""So many blocks are taken out, at most."""
_LABELS: Final = (
    "context passage article document documents background text source sources kontext контекст contexte contexto "
    "背景 上下文 本文 문맥 السياق"
).split()
_ASKS: Final = "question query frage вопрос pregunta 问题 質問 질문 السؤال".split()
_STEERING: Final = ("this is", "model", "tier", "routing", "router", "complexity", "difficulty", "route")
"""Without one of these nothing steers."""
_STEERS: Final = re.compile(
    r"(?:\bthis is (?:just )?an? (?:very |really |extremely |quite )?(?:simple|easy|trivial|basic|hard|difficult|complex|tough)"
    r"(?: and \w+)? (?:question|task|request|problem|one|prompt|query)\b"
    r"|\b(?:use|choose|pick|select|send|route)\b[^.!?\n]{0,40}\b(?:small|smaller|smallest|cheap|cheaper|cheapest|weak|weakest"
    r"|fast|fastest|large|larger|largest|big|bigger|biggest|strong|stronger|strongest|best)\b[^.!?\n]{0,12}\b(?:model|tier)\b"
    r"|\b(?:routing|router) (?:instructions?|rules?|decisions?)\b|\b(?:complexity|difficulty|tier|route)\s*[:=])",
    re.IGNORECASE,
)
_TAGGED: Final = re.compile(r"\s*(?:\[[^\[\]\n]{1,80}\]\s*){1,8}")
_END: Final = re.compile(r"[!?\n]|\.(?!\d)")
"""Of a sentence; a decimal point is none."""
_STEERING_CHARACTERS: Final = 400
"""Steering stands at a turn's head or at its tail; so much is looked at of each."""
_LINES: Final = 256
"""So many lines are looked at of each end."""
_DATA_LINES: Final = 3
_DATA_CHARACTERS: Final = 200
"""So many lines of a table or a log, or characters, are pasted; fewer may be the question's own."""
_TOKEN: Final = 120
"""Longer runs without a space are no words. In ASCII: other scripts have no spaces."""

_RUN: Final = re.compile(rf"(?<![!-~])[!-~]{{{_TOKEN},}}")

_GO_ON: Final = frozenset(
    (
        "yes y yeah yep yup no n nope ok okay k sure fine right correct exactly great good perfect nice cool thanks thank you "
        "go on ahead continue proceed next more please do it that this so and then now again keep going resume carry i agree "
        "sounds let's lets done ready try retry yes! "
        "ja nein weiter mach bitte genau gut danke weitermachen fortfahren "
        "да нет дальше продолжай продолжайте продолжи хорошо ладно давай ок спасибо пожалуйста ещё еще "
        "oui non continue continuez vas-y vas allez d'accord merci encore suite la "
        "sí si no continúa continua sigue adelante vale gracias más claro "
        "sì avanti prosegui grazie va bene ancora sim não prossiga obrigado mais "
        "evet hayır devam et tamam tak nie dalej kontynuuj tak proszę "
        "نعم لا أكمل استمر تابع حسنا شكرا موافق हाँ जारी रखें ठीक "
        "계속 계속해 계속해줘 계속해주세요 네 예 응 아니요 좋아 좋아요 그래 더 "
        "继续 继续吧 请继续 好 好的 是 是的 对 嗯 可以 不 不是 行 接着 下一步 谢谢 "
        "はい いいえ 続けて 続けてください 続き 次 お願いします そう うん わかった ok"
    ).split()
)
"""Words of turns that only say that the conversation goes on."""
_GO_ON_WORDS: Final = 8
_SHORT_WORDS: Final = 2
"""A turn of so few words, in a conversation, means something only with what came before."""
_SPLIT: Final = re.compile(r"[^\w'\-]+")
_CONSONANTS: Final = re.compile(r"[bcdfghjklmnpqrstvwxz]{5}", re.IGNORECASE)
_LETTERS: Final = re.compile(r"[^\W\d_]")
_MASHED_CHARACTERS: Final = 200


def question(text: str) -> str:
    """The question in a user's turn, `text` being bounded."""
    text = text.strip()
    if "<" in text:
        text = _untagged(text)
    if ":" in text or "\uff1a" in text:
        text = _after_label(text)
    if "\n" in text:
        text = _without_data(text)
    if len(text) > _TOKEN:
        text = _without_tokens(text)
    return _unsteered(text).strip()


def _after_label(text: str) -> str:
    """What follows the last "Question:", where a "Context:" stands before it."""
    lowered = text.lower()
    if len(lowered) != len(text):  # a letter whose small form is longer: places would not fit
        return text
    asks = [(at, len(label) + 1) for label in _ASKS if (at := _line_with(lowered, label, last=True)) >= 0]
    if not asks:
        return text
    at, width = max(asks)
    given = any(0 <= _line_with(lowered, label, last=False) < at for label in _LABELS)
    left = text[at + width :]
    return left if given and left.strip() else text


def _line_with(lowered: str, label: str, *, last: bool) -> int:
    """Where a line begins with the label and a colon; -1: nowhere. The first or the last place that has both is looked at."""
    for colon in ":\uff1a":
        at = lowered.rfind(label + colon) if last else lowered.find(label + colon)
        if at == 0 or (at > 0 and lowered[at - 1] == "\n"):
            return at
    return -1


def _untagged(text: str) -> str:
    lowered = text.lower()
    room = _BLOCKS
    if len(lowered) != len(text):  # a letter whose small form is longer: places would not fit
        return text
    for tag in _TAGS:
        opening = f"<{tag}"
        while room and (start := lowered.find(opening)) >= 0:
            room -= 1
            close = f"</{tag}>"
            end = lowered.find(close, start)
            left = text[:start] + "\n" + text[end + len(close) :] if end >= 0 else ""
            if not left.strip():
                break
            text, lowered = left, left.lower()
    return text


def _without_data(text: str) -> str:
    lines = text.split("\n")
    if len(lines) > 2 * _LINES:
        lines = lines[:_LINES] + lines[-_LINES:]
    kept = [line for line in lines if not _is_data(line)]
    pasted = len(lines) - len(kept)
    if not pasted or (pasted < _DATA_LINES and sum(map(len, lines)) - sum(map(len, kept)) < _DATA_CHARACTERS):
        return text
    left = "\n".join(kept)
    return left if left.strip() else text


def _is_data(line: str) -> bool:
    first = line[:1]
    if first == "|" or line[:3] == "[20":
        return True
    if first.isdigit():
        return line[:4].isdigit() and line[4:5] in {"-", "/", ",", ";", "\t"}
    return first in {"[", "{"} and len(line) >= _DATA_CHARACTERS


def _without_tokens(text: str) -> str:
    if not any(
        len(word) >= _TOKEN and 2 * len(word.encode("utf-8", "ignore")) < 3 * len(word)
        for word in text.split()
    ):
        return text
    left = _RUN.sub("", text)
    return left if left.strip() else text


def _unsteered(text: str) -> str:
    ends = f"{text[:_STEERING_CHARACTERS]}\n{text[-_STEERING_CHARACTERS:]}".lower()
    if not any(word in ends for word in _STEERING):
        return text
    tagged = _TAGGED.match(text)
    if tagged is not None and _STEERS.search(tagged[0]) and text[tagged.end() :].strip():
        text = text[tagged.end() :]
    for low, high in ((0, _STEERING_CHARACTERS), (max(0, len(text) - _STEERING_CHARACTERS), len(text))):
        found = _STEERS.search(text, low, high)
        while found is not None:
            start = max((mark.end() for mark in _END.finditer(text, 0, found.start())), default=0)
            stop = _END.search(text, found.end())
            end = len(text) if stop is None else stop.end()
            left = text[:start] + text[end:]
            if not left.strip():
                break
            text = left
            found = _STEERS.search(text, low, min(high, len(left)))
    return text


def goes_on(text: str, turns: int) -> bool:
    """Whether a turn only says that the conversation goes on, or says too little to be understood without it."""
    if len(text) > 80:
        return False
    words = [word for word in _SPLIT.split(text.lower()) if word]
    if not words or len(words) > _GO_ON_WORDS:
        return False
    return all(word in _GO_ON for word in words) or (turns > 1 and len(words) <= _SHORT_WORDS)


def unreadable(text: str) -> bool:
    """Whether there are no words in it, or only the marks of a hand on a keyboard."""
    head = text[: 4 * _MASHED_CHARACTERS]
    if _LETTERS.search(head) is None:
        return True
    if len(text) > _MASHED_CHARACTERS:
        return text.isascii() and len(text.split(None, 3)) < 4 and max(map(len, text.split())) >= _TOKEN
    words = [word for word in text.split() if len(word) > 4 and word.isascii()]
    mashed = sum(_CONSONANTS.search(word) is not None for word in words)
    return 0 < mashed == len(words) >= len(text.split()) - 1
