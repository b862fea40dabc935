"""This project's generator, in a process of its own as the others are: `python -m benchmarks.crosscheck.ours LOAD.json`."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import uvloop

import balancer
from benchmarks.crosscheck.generator import Generator, Report, flat_percentiles
from benchmarks.crosscheck.load import Load
from benchmarks.load.player import play
from benchmarks.load.record import Outcome
from benchmarks.load.target import Target
from benchmarks.reporting.figures import latencies
from benchmarks.workloads.script import CHAT_PATH, Ask, Conversation, Script

NAME = "ours"
_LOAD, _REPORT = "load.json", "ours.json"


def find() -> Generator:
    def command(load: Load, target: Target, folder: Path) -> list[str]:
        (folder / _LOAD).write_text(
            json.dumps({**asdict(load), "url": target.url, "model": target.model}), encoding="utf-8"
        )
        return [sys.executable, "-m", "benchmarks.crosscheck.ours", _LOAD]

    return Generator(NAME, balancer.__version__, command, read)


def read(folder: Path) -> Report:
    result = json.loads((folder / _REPORT).read_text(encoding="utf-8"))
    return Report(result["completed"], flat_percentiles(result), result["sent_s"])


def script(load: Load, model: str) -> Script:
    conversations = tuple(
        Conversation(due_s, f"request {number}", (Ask(CHAT_PATH, body),), remembers=False)
        for number, (due_s, body) in enumerate(zip(load.due_s, load.bodies(model), strict=True))
    )
    return Script("crosscheck", conversations, start_s=0.0, end_s=load.due_s[-1] + 1)


def given(path: Path) -> tuple[Load, Target]:
    """What `command` left."""
    parts = json.loads(path.read_text(encoding="utf-8"))
    target = Target(parts.pop("url"), parts.pop("model"))
    prompts, due_s = tuple(parts.pop("prompts")), tuple(parts.pop("due_s"))
    return Load(prompts, due_s, **parts), target


def _main() -> None:
    load, target = given(Path(sys.argv[1]))
    played = uvloop.run(play(script(load, target.model), target))
    answered = [record for record in played.records if record.outcome is Outcome.ANSWERED]
    sent_s = [record.sent_s for record in answered]
    result = {"completed": len(answered), "sent_s": sent_s, **latencies(answered)}
    Path(_REPORT).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    _main()
