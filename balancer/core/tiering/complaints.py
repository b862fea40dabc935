"""Whether somebody says that the last answer was wrong: early in a short turn, since anything longer is content."""

import re

MOST_BYTES = 1000
"""Who is dissatisfied says so in a short turn,"""

SAID_WITHIN = 120
"""and so early in it."""

_COMPLAINTS = (
    r"\b(that|this|it)( is|'s| was)( still| just| simply| completely)? (wrong|incorrect|not (correct|right|true|what i))",
    r"\b(that|this|it) (is|was|does|did)(n'?t| not) (correct|right|true|help|what i|work)",
    r"\byou('re| are| were) (wrong|mistaken)|\byou (misunderstood|ignored (my|the|what))",
    r"\bstill (wrong|incorrect|fails|failing|broken|not working|the same (error|problem|mistake))",
    r"^(no,? )?(wrong( answer)?|try (it )?again|do it again)\b|\bnot what i (asked|wanted|meant)",
    r"\bdas (ist|war) (immer noch |leider )?falsch|stimmt (so |leider )?nicht",
    r"versuch(e|s)? (es )?noch ?mal|geht immer noch nicht",
    r"c'est (toujours )?(faux|incorrect)|ce n'est pas (correct|juste|ce que)",
    r"\bréessaie|essaie encore|ça ne marche (toujours )?pas",
    r"\bestá mal\b|es incorrecto|no es (correcto|lo que)|inténtalo de nuevo|sigue sin funcionar",
    r"está errado|não está certo|tenta de novo|è sbagliato|ancora non funziona|\briprova\b",
    r"это (неправильно|неверно|не так)|^(неправильно|неверно)|попробуй (еще|ещё) раз|(все|всё) (еще|ещё) не работает",
    r"^(不对|不對|错了|錯了)|还是不对|還是不對|再试一次|再試一次|不是我(要|想)的",
    r"^(هذا )?(خطأ|غير صحيح)",
    r"違います|^違う|間違って(い)?ます|もう一度やって|^틀렸|다시 해 ?(줘|봐|주세요)",
)
_COMPLAINT = re.compile("|".join(f"(?:{each})" for each in _COMPLAINTS))


def complains(text: str, size_bytes: int) -> bool:
    """`size_bytes` is how long the whole turn is, of which this is the head."""
    if size_bytes > MOST_BYTES:
        return False
    return _COMPLAINT.search(text[:SAID_WITHIN].casefold().replace("\u2019", "'")) is not None
