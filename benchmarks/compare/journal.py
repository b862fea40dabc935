"""What a comparison has measured so far, in a file that a power cut can't take: a line for the plan, then one a cell."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.compare.plan import Key

NAME = "compare"
_SAME_MACHINE = ("cpu", "cores", "kernel", "python", "balancer", "commit")

Row = dict[str, Any]


class Journal:
    """`head` has the `digest` of the plan, the `fingerprint` of the machine, and whatever else was settled at the start."""

    def __init__(self, path: Path, head: Mapping[str, Any], rows: list[Row]) -> None:
        self.path = path
        self.head = head
        self.rows = rows

    @classmethod
    def begun(cls, path: Path, head: Mapping[str, Any]) -> "Journal":
        if path.exists():
            raise ValueError(
                f"--out: {path} holds a comparison that was broken off: --resume {path} goes on with it; else remove it"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        journal = cls(path, {"benchmark": NAME, **head}, [])
        journal._write(journal.head)
        return journal

    @classmethod
    def resumed(cls, path: Path, digest: str, fingerprint: Mapping[str, Any]) -> "Journal":
        """A ValueError where the plan is another, or the machine: such figures do not belong together."""
        head, rows, whole_bytes = _read(path)
        if head["digest"] != digest:
            raise ValueError(
                f"--resume: {path} has another plan ({head['digest']}) than these options ({digest})"
            )
        for fact in _SAME_MACHINE:
            if head["fingerprint"].get(fact) != fingerprint.get(fact):
                raise ValueError(
                    f"--resume: {path} was measured with {fact} {head['fingerprint'].get(fact)}, this is {fingerprint.get(fact)}"
                )
        with path.open("rb+") as file:
            file.truncate(whole_bytes)
        return cls(path, head, rows)

    def write(self, row: Row) -> None:
        """A cell that was measured again takes the place of what is known of it."""
        self.rows = list({_key(each): each for each in (*self.rows, row)}.values())
        self._write(row)

    @property
    def done(self) -> set[Key]:
        """Cells with figures that can be believed; the others are tried again."""
        return {_key(row) for row in self.rows if row["trouble"] is None and row["valid"]}

    def _write(self, line: Mapping[str, Any]) -> None:
        with self.path.open("ab") as file:
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _key(row: Row) -> Key:
    return row["workload"], row["load"], row["repeat"], row["arm"]


def _read(path: Path) -> tuple[dict[str, Any], list[Row], int]:
    """The head, the rows, and how many bytes hold whole lines: the last may have been cut off while it was written."""
    try:
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        lines = [json.loads(line) for line in whole.splitlines()]
        head, known = lines[0], {_key(row): row for row in lines[1:]}
        sound = head["benchmark"] == NAME and head["digest"] and isinstance(head["fingerprint"], dict)
        sound = sound and all({"trouble", "valid"} <= row.keys() for row in known.values())
    except (OSError, ValueError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"--resume: expected the journal of a comparison at {path}: {error}") from error
    if not sound:
        raise ValueError(f"--resume: expected the journal of a comparison at {path}")
    return head, list(known.values()), len(whole)
