"""Files of labelled requests. One line, one row, in one of these shapes; a bad line is told with its number and field.

    {"prompt" | "messages", "weak": 0..1, "strong": 0..1}         both models answered
    {"prompt", "winner": "strong" | "weak" | "tie"}               somebody compared the answers
    {"prompt", "served": "weak" | "strong", "ok": 0..1, "p": 0..1}  a log: which served, how it went, with which probability
    {"prompt", "model_a", "model_b", "winner"}                    a battle, as in RouteLLM's arena data (also winner_model_a, ...)
    {"query", "model_name", "performance"}                        LLMRouter's, a row for each model
    {"prompt", "<model>": 0..1, ...}                              a column for each model, as in RouteLLM's evaluation files

JSON lines or CSV, also compressed (.gz). A row may name its `domain` (`task_name`, `task`, `category` and `source` are read too).
"""

import contextlib
import csv
import gzip
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from balancer.learning.rows import STRONG, WEAK, BadData, Row

MAX_LINE_BYTES = 16 * 1024**2
MAX_TOLD = 20
_TEXTS = ("prompt", "query")
_DOMAINS = ("domain", "task_name", "task", "category", "source")
_ABOUT = frozenset(
    (
        *_TEXTS,
        *_DOMAINS,
        *("messages", "choices", "ground_truth", "metric", "response", "language", "subject", "split", "src"),
        *(
            "id",
            "question_id",
            "query_id",
            "embedding_id",
            "decision_id",
            "user_id",
            "tenant",
            "contaminated",
        ),
        *("date", "time", "score", "cost", "response_time", "token_num", "input_tokens", "output_tokens"),
    )
)
"""Fields that tell of the prompt or an answer, and are no model's quality."""
_WINNERS = {"model_a": 1.0, "model_b": 0.0, "tie": 0.5, "tie (bothbad)": 0.5, "both": 0.5, "neither": 0.5}
_BOOLEANS = {"true": 1.0, "false": 0.0}


class _Wrong(Exception):
    """What is wrong with one line."""


def read(path: Path) -> list[Row]:
    """All rows of a file.

    Raises: BadData, with every bad line (the first MAX_TOLD in words); OSError, where it can't be read.
    """
    rows: list[Row] = []
    mistakes: list[str] = []
    try:
        for number, fields in _lines(path):
            try:
                if isinstance(fields, _Wrong):
                    raise fields
                row = _row(fields)
            except _Wrong as wrong:
                mistakes.append(f"{path}:{number}: {wrong}")
            else:
                if row is not None:
                    rows.append(row)
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, csv.Error) as error:
        mistakes.append(f"{path}: expected JSON lines or CSV in UTF-8: {error}")
    if len(mistakes) > MAX_TOLD:
        mistakes[MAX_TOLD:] = [f"{path}: and {len(mistakes) - MAX_TOLD} more"]
    if mistakes:
        raise BadData(*mistakes)
    if not rows:
        raise BadData(f"{path}: no rows")
    return rows


def _lines(path: Path) -> Iterator[tuple[int, "Mapping[str, Any] | _Wrong"]]:
    with path.open("rb") as raw, contextlib.ExitStack() as opened:
        stream: Any = raw
        if path.name.endswith(".gz"):
            stream = opened.enter_context(gzip.GzipFile(fileobj=raw))
        if path.name.removesuffix(".gz").endswith(".csv"):
            with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
                yield from _csv_lines(text)
            return
        for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE_BYTES + 1), b""), 1):
            if len(line) > MAX_LINE_BYTES:
                raise BadData(f"{path}:{number}: expected a line of at most {MAX_LINE_BYTES} bytes")
            if not line.strip():
                continue
            try:
                fields = msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                yield number, _Wrong(f"expected one JSON object: {error}")
                continue
            yield number, fields if isinstance(fields, dict) else _Wrong("expected one JSON object")


def _csv_lines(stream: io.TextIOWrapper) -> Iterator[tuple[int, "Mapping[str, Any] | _Wrong"]]:
    reader = csv.DictReader(stream, strict=True)
    for fields in reader:
        if None in fields:
            yield reader.line_num, _Wrong(f"expected {len(reader.fieldnames or ())} columns, given more")
        else:
            yield reader.line_num, {name: value for name, value in fields.items() if value not in {None, ""}}


def _row(fields: Mapping[str, Any]) -> Row | None:
    """None for a line that says of itself that it must not be used (RouteLLM's contaminated prompts)."""
    if _number(fields, "contaminated", default=0.0):
        return None
    prompt = _prompt(fields)
    domain = next((value for name in _DOMAINS if isinstance(value := fields.get(name), str) and value), "")
    if "served" in fields:
        p = _number(fields, "p")
        if not 0 < p <= 1:
            raise _Wrong(f"p: expected a probability above 0, given {p:g}")
        return Row(prompt, {_word(fields, "served"): _quality(fields, "ok")}, domain, p, logged=True)
    if "model_a" in fields or "model_b" in fields:
        a, b = _word(fields, "model_a"), _word(fields, "model_b")
        if a == b:
            raise _Wrong(f"model_b: expected another model than model_a, given {b}")
        won = _battle(fields)
        return Row(prompt, {a: won, b: 1 - won}, domain)
    if "winner" in fields:
        winner = fields["winner"]
        if winner not in (STRONG, WEAK, "tie"):
            raise _Wrong(f"winner: expected strong, weak or tie, given {_shown(winner)}")
        won = 0.5 if winner == "tie" else float(winner == STRONG)
        return Row(prompt, {WEAK: 1 - won, STRONG: won}, domain)
    if "performance" in fields:
        name = "model_name" if "model_name" in fields else "model"
        return Row(prompt, {_word(fields, name): _quality(fields, "performance")}, domain)
    if (WEAK in fields) != (STRONG in fields):
        raise _Wrong(f"{STRONG if WEAK in fields else WEAK}: expected a number from 0 to 1, given none")
    models = (
        (WEAK, STRONG)
        if WEAK in fields
        else [n for n in fields if n not in _ABOUT and not n.endswith("_response")]
    )
    if not models:
        raise _Wrong(
            "expected labels: weak and strong, winner, or served, ok and p, or a number for each model"
        )
    return Row(prompt, {name: _quality(fields, name) for name in models}, domain)


def _battle(fields: Mapping[str, Any]) -> float:
    """What of the battle went to model_a."""
    if "winner" in fields:
        winner = fields["winner"]
        if not isinstance(winner, str) or winner not in _WINNERS:
            raise _Wrong(f"winner: expected model_a, model_b or tie, given {_shown(winner)}")
        return _WINNERS[winner]
    columns = {name: _number(fields, f"winner_{name}", default=0.0) for name in ("model_a", "model_b", "tie")}
    won = [name for name, value in columns.items() if value]
    if len(won) != 1:
        raise _Wrong("winner_model_a, winner_model_b, winner_tie: expected one of them to be 1")
    return _WINNERS[won[0]]


def _prompt(fields: Mapping[str, Any]) -> str:
    if "messages" in fields:
        return _last_user_turn(fields["messages"])
    for name in _TEXTS:
        if name in fields:
            prompt = fields[name]
            if isinstance(prompt, list):  # the user's turns, as the arena has them
                prompt = prompt[-1] if prompt else ""
            if not isinstance(prompt, str) or not prompt.strip():
                raise _Wrong(f"{name}: expected text, given {_shown(prompt)}")
            return prompt
    raise _Wrong("prompt: expected text here, or messages")


def _last_user_turn(messages: Any) -> str:
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        raise _Wrong("messages: expected a list of objects")
    for message in reversed(messages):
        if message.get("role") != "user":
            continue
        content = message.get("content")
        if isinstance(content, list):
            content = "\n".join(
                str(part["text"]) for part in content if isinstance(part, dict) and "text" in part
            )
        if isinstance(content, str) and content.strip():
            return content
    raise _Wrong("messages: expected a user's turn with text")


def _word(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise _Wrong(f"{name}: expected the name of a model, given {_shown(value)}")
    return value


def _quality(fields: Mapping[str, Any], name: str) -> float:
    value = _number(fields, name)
    if not 0 <= value <= 1:
        raise _Wrong(f"{name}: expected a number from 0 to 1, given {value:g}")
    return value


def _number(fields: Mapping[str, Any], name: str, default: float | None = None) -> float:
    value = fields.get(name, default)
    number = math.nan
    if isinstance(value, str) and value.lower() in _BOOLEANS:
        number = _BOOLEANS[value.lower()]
    elif isinstance(value, str | int | float):
        with contextlib.suppress(ValueError, OverflowError):
            number = float(value)
    if not math.isfinite(number):
        raise _Wrong(f"{name}: expected a number from 0 to 1, given {_shown(value)}")
    return number


def _shown(value: Any) -> str:
    text = repr(value)
    return "none" if value is None else text if len(text) <= 60 else f"{text[:60]}…"
