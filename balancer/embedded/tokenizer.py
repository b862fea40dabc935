"""Text to token ids and back, about four bytes of English to a token. Needs no model files.

A regular expression cuts text into pieces: short words with the space before them, digits, punctuation, white space. A
piece's id is a hash of it, so every replica agrees. What holds:

- cutting is stable where generated text is appended: encode(prompt + answer) == encode(prompt) + ids of the answer, so
  that a next turn finds the last one in the prefix cache;
- decode() is exact for generated text, always;
- for other text it is exact while the process remembers the pieces (it keeps 200,000) and as long as no two of
  them share an id; an id that was never seen decodes to U+FFFD.
"""

import re
import zlib
from collections.abc import Iterable

from balancer.embedded.words import WORDS

VOCAB_SIZE = 2**31  # far above a real model's, so that pieces hardly ever share an id
END_OF_TEXT, TURN_START, TURN_END, NEWLINE = range(4)
SPECIAL_IDS = 256  # ids below are control tokens; no text encodes to them

REMEMBERED_PIECES = 200_000

_PIECES = re.compile(r" ?[A-Za-z]{1,6}|[0-9]{1,3}| ?[^\sA-Za-z0-9]{1,2}|\s+(?!\S)|\s")
_CONTROL_TEXT = {END_OF_TEXT: "", TURN_START: "<|im_start|>", TURN_END: "<|im_end|>", NEWLINE: "\n"}


class _Ids(dict[str, int]):
    """Piece to id; a piece seen for the first time is hashed, and remembered for decoding."""

    def __init__(self, pieces: dict[int, str]) -> None:
        super().__init__()
        self.pieces = pieces

    def __missing__(self, piece: str) -> int:
        token = hash_piece(piece)
        if len(self) >= REMEMBERED_PIECES:
            self.clear()
            self.pieces.clear()
        self[piece] = token
        self.pieces.setdefault(token, piece)
        return token


def hash_piece(piece: str) -> int:
    return SPECIAL_IDS + zlib.crc32(piece.encode("utf-8", "surrogatepass")) % (VOCAB_SIZE - SPECIAL_IDS)


# What is generated: words with a space before, the same as openings of a turn, and one full stop.
CONTINUING = tuple((hash_piece(" " + word), " " + word) for word in WORDS)
OPENING = tuple((hash_piece(word.capitalize()), word.capitalize()) for word in WORDS)
FULL_STOP = (hash_piece("."), ".")
_GENERATED = dict((*CONTINUING, *OPENING, FULL_STOP))


class Tokenizer:
    def __init__(self) -> None:
        self._pieces: dict[int, str] = {}
        self._ids = _Ids(self._pieces)

    def encode(self, text: str) -> list[int]:
        return list(map(self._ids.__getitem__, _PIECES.findall(text)))

    def piece(self, token: int) -> str:
        for known in (_CONTROL_TEXT, _GENERATED, self._pieces):
            if (piece := known.get(token)) is not None:
                return piece
        return "\ufffd"

    def decode(self, tokens: Iterable[int]) -> str:
        return "".join(map(self.piece, tokens))
