"""What a score sees of a prompt: hashed words and pairs of words, and its shape. Nothing here is learned.

Words are hashed all at once: with prefix sums H of byte * P^position, a word from s to e has the hash (H[e] - H[s]) * P^-s,
whose inverse powers are multiplications here (P is odd). Scripts without spaces give pairs of characters as words.
The hashes are part of every weights file: changing anything that moves them is a new `VERSION`.
"""

from math import log1p
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from balancer.core.tiering.score.lexicon import CONCEPTS, PHRASES

VERSION: Final = 1
"""Of the features. Weights of another version are refused."""
BUCKETS: Final = 1 << 15
END_BYTES: Final = 1024
"""So much is read of a prompt's head, and of its tail."""

Words = NDArray[np.uint64]
Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


class Features(NamedTuple):
    """`ids` (ascending, each once, below BUCKETS) and `values` (of unit length) are the hashed words, `shape` is by SHAPE."""

    ids: NDArray[np.int64]
    values: Floats
    shape: Floats


_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_TO_BUCKET: Final = np.uint64(64 - 15)
_PAIR: Final = np.uint64(31)
_PRIME: Final = 1099511628211
_TOP: Final = 2 * END_BYTES + 64


def _powers() -> NDArray[np.uint64]:
    powers, value = np.empty(_TOP + 1, np.uint64), 1
    for i in range(_TOP + 1):
        powers[i] = value
        value = value * _PRIME % (1 << 64)
    return powers


_POWERS: Final = _powers()
_TRUE: Final = np.array([True])

# --- classes of bytes --------------------------------------------------------------------------------------------------
_UPPER, _DIGIT, _HIGH, _SPACE, _LINE, _CONTINUED = 1, 2, 3, 4, 5, 6
_MARKS: Final = ("?", ",", "\"'`", "()[]", "=<>+*/^", "$%", "\\{}_", ":;", ".!", "-|#")
_CLASSES: Final = 7 + len(_MARKS)


def _classes() -> Bytes:
    classes = np.zeros(256, np.uint8)
    classes[ord("A") : ord("Z") + 1] = _UPPER
    classes[ord("0") : ord("9") + 1] = _DIGIT
    classes[0x80:0xC0] = _CONTINUED
    classes[0xC0:] = _HIGH
    classes[ord(" ")] = classes[ord("\t")] = _SPACE
    classes[ord("\n")] = _LINE
    for i, marks in enumerate(_MARKS):
        for mark in marks:
            classes[ord(mark)] = 7 + i
    return classes


def _lower() -> Bytes:
    lower = np.arange(256, dtype=np.uint8)
    lower[ord("A") : ord("Z") + 1] += 32
    lower[ord("0") : ord("9") + 1] = ord("0")  # numbers of as many digits are one word
    return lower


def _in_words() -> NDArray[np.bool_]:
    inside = np.zeros(256, np.bool_)
    for low, high in (("0", "9"), ("a", "z"), ("A", "Z")):
        inside[ord(low) : ord(high) + 1] = True
    for mark in "'_$\\^{}+=":
        inside[ord(mark)] = True
    inside[0x80:] = True
    return inside


_CLASS: Final = _classes()
_LOWER: Final = _lower()
_WORD: Final = _in_words()


def ends(text: str) -> bytes:
    """The first and the last END_BYTES of a text, in UTF-8."""
    if len(text) > 2 * END_BYTES:
        text = text[:END_BYTES] + "\n" + text[-END_BYTES:]
    data = text.encode("utf-8", "ignore")
    return data if len(data) <= 2 * END_BYTES else data[:END_BYTES] + data[-END_BYTES:]


_FIRST: Final = np.zeros(1, np.int64)
_NONE: Final = np.zeros(0, np.int64)


_E3: Final = np.uint8(0xE3)


def _unspaced(data: Bytes) -> NDArray[np.bool_]:
    """Where characters of scripts without spaces begin: kana, Han and Hangul, and Thai and Lao, of three bytes each."""
    leads: NDArray[np.bool_] = data - _E3 <= 0xED - 0xE3  # in eight bits: smaller ones are large then
    thai = np.flatnonzero(data[:-1] == 0xE0)
    if len(thai):
        leads[thai[(data[thai + 1] >= 0xB8) & (data[thai + 1] <= 0xBB)]] = True
    leads[-2:] = False
    return leads


def _bounds(data: Bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where words start and end. Characters of scripts without spaces are taken in pairs."""
    inside = _WORD[data]
    at = _NONE
    if len(data) > 2 and data.max() >= 0xE0:
        leads = _unspaced(data)
        at = np.flatnonzero(leads)
        inside &= ~leads
        inside[1:] &= ~leads[:-1]
        inside[2:] &= ~leads[:-2]
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    if len(inside) and inside[0]:
        edges = np.concatenate((_FIRST, edges))
    if len(edges) % 2:
        edges = np.append(edges, len(data))
    starts, stops = edges[::2], edges[1::2]
    if len(at):
        paired = at[:-1][at[1:] - at[:-1] == 3]
        starts, stops = np.concatenate((starts, paired)), np.concatenate((stops, paired + 6))
        order = np.argsort(starts, kind="stable")
        starts, stops = starts[order], stops[order]
    return starts, stops


def _hashes(data: Bytes, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> Words:
    sums = np.zeros(len(data) + 1, np.uint64)
    np.cumsum(data * _POWERS[: len(data)], out=sums[1:])
    words = (sums[stops] - sums[starts]) * _POWERS[_TOP - starts]
    words ^= words >> np.uint64(29)
    words *= _MIX
    words ^= words >> np.uint64(32)
    return words


def _pairs(words: Words) -> Words:
    return words[:-1] * _PAIR + words[1:] * _MIX


def _distinct(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """As `np.unique` with its counts, which takes thrice as long for so few."""
    if not len(values):
        return values, values
    values = np.sort(values)
    starts = np.flatnonzero(np.concatenate((_TRUE, values[1:] != values[:-1])))
    return values[starts], np.concatenate((starts[1:], [len(values)])) - starts


def _lowered(text: str) -> Bytes:
    return _LOWER[np.frombuffer(text.lower().encode(), np.uint8)]


# --- the lexicon as a table ---------------------------------------------------------------------------------------------
_LEXICON_BITS: Final = 18
_TO_LEXICON: Final = np.uint64(64 - _LEXICON_BITS)
_GROUPS: Final = (*CONCEPTS, *PHRASES)


def _lexicon() -> Bytes:
    """Bucket of a word's hash -> 1 + index of its concept, 0 for words of none."""
    table = np.zeros(1 << _LEXICON_BITS, np.uint8)
    for group, name in enumerate(_GROUPS, 1):
        for entry in CONCEPTS[name].split() if name in CONCEPTS else PHRASES[name]:
            data = _lowered(entry)
            words = _hashes(data, *_bounds(data))
            words = words[:1] if name in CONCEPTS else _pairs(words)[:1]
            table[words * _MIX >> _TO_LEXICON] = group
    return table


_LEXICON: Final = _lexicon()

_HEAD: Final = (
    "characters", "words", "word length", "long words", "lines", "distinct words", "fences", "numbers", "capitals",
    "bullets", "options", "words per sentence",
)  # fmt: skip
_COUNTED: Final = ("upper", "digits", "high", "spaces", "newlines", "continued", *_MARKS)
SHAPE: Final = (*_HEAD, *_COUNTED, *_GROUPS, *(f"{name}, density" for name in (*_COUNTED, *_GROUPS)))
"""What the columns of a shape are. Counts are log1p of the count; densities the square roots of shares, of bytes or of words."""


_OF_BYTES: Final = np.arange(len(_COUNTED) + len(_GROUPS)) < len(_COUNTED)


def featurize(text: str, characters: int | None = None) -> Features:
    """`characters` is how long the whole text is, where `text` is its ends: of it, no more than these are read."""
    raw = np.frombuffer(ends(text), np.uint8)
    lowered = _LOWER[raw if text.isascii() else np.frombuffer(ends(text.lower()), np.uint8)]
    starts, stops = _bounds(lowered)
    words = _hashes(lowered, starts, stops)
    mixed = np.concatenate((words, _pairs(words))) * _MIX
    ids, counts = _distinct((mixed >> _TO_BUCKET).astype(np.int64))
    values = np.sqrt(counts / max(1, len(mixed))).astype(np.float32)
    concepts = _LEXICON[mixed >> _TO_LEXICON]
    length = float(len(text) if characters is None else characters)
    if not text.isascii():  # one of Han, kana or Hangul says as much as three letters
        heads = max(1, int(np.count_nonzero(raw & 0xC0 != 0x80)))
        length *= 1.0 + 2.0 * int(np.count_nonzero(raw - _E3 <= 0xED - 0xE3)) / heads
    return Features(ids, values, _shape(raw, stops - starts, words, concepts, length))


def _shape(
    raw: Bytes, lengths: NDArray[np.int64], words: Words, concepts: Bytes, characters: float
) -> Floats:
    classes = _CLASS[raw]
    counts = np.bincount(classes, minlength=_CLASSES)
    count = len(words)
    many = max(1, count)
    digits = classes == _DIGIT
    bullets, options = _listed(raw, classes) if counts[_LINE] else (0, 0)
    ordered = np.sort(words)
    sentences = 1 + counts[7 + 8] + counts[7]
    before, after = classes[:-1], classes[1:]
    head = (
        log1p(characters),
        log1p(count),
        int(lengths.sum()) / many,
        np.count_nonzero(lengths > 7) / many,
        log1p(counts[_LINE]),
        (count - np.count_nonzero(ordered[1:] == ordered[:-1])) / many,
        log1p(bytes(raw).count(b"```")),
        log1p(np.count_nonzero(digits[1:] & ~digits[:-1])),
        np.count_nonzero((after == _UPPER) & (before == _SPACE)) / many,
        log1p(bullets),
        log1p(options),
        log1p(count / sentences),
    )
    rest = np.concatenate((counts[1:], np.bincount(concepts, minlength=len(_GROUPS) + 1)[1:]))
    shares = rest / np.where(_OF_BYTES, max(1, len(raw)), many)
    return np.concatenate((np.array(head), np.log1p(rest), np.sqrt(shares))).astype(np.float32)


def _listed(raw: Bytes, classes: Bytes) -> tuple[int, int]:
    """Lines that begin as one of a list, and as an answer to choose: "A." to "J)"."""
    lines = np.flatnonzero(classes[:-2] == _LINE) + 1
    first, second = raw[lines], raw[lines + 1]
    letters = (first >= ord("A")) & (first <= ord("J")) & ((second == ord(".")) | (second == ord(")")))
    bullets = (first == ord("-")) | (first == ord("*")) | (classes[lines] == _DIGIT)
    return int(np.count_nonzero(bullets)), int(np.count_nonzero(letters))
