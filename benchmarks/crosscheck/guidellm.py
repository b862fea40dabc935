"""GuideLLM. It replays prompts at their times. What it calls inter-token latency is a mean over one answer, weighted by
tokens, `tpot` here; it reports no gaps between events.
"""

import json
from pathlib import Path

from benchmarks.crosscheck.generator import PERCENTILES, Generator, Report, write_lines
from benchmarks.crosscheck.load import Load
from benchmarks.load.target import Target
from benchmarks.peers.environment import installed
from benchmarks.peers.peer import Tools
from benchmarks.peers.pins import Pin

PIN = Pin(name="guidellm", version="0.8.1", requirements=("guidellm==0.8.1",))
_REPORT = "guidellm.json"
_FIELDS = {
    "ttft": ("time_to_first_token_ms", 1),
    "tpot": ("inter_token_latency_ms", 1),
    "e2el": ("request_latency", 1000),
}
"""Each with what makes it milliseconds."""


def find(tools: Tools) -> Generator:
    program = installed(tools, PIN) / "guidellm"

    def command(load: Load, target: Target, folder: Path) -> list[str]:
        rows = [
            {"prompt": prompt, "output_tokens_count": load.output_tokens, "relative_timestamp": due_s}
            for due_s, prompt in zip(load.due_s, load.prompts, strict=True)
        ]
        data = write_lines(folder / "prompts.jsonl", rows)
        options = {
            "--backend": f"kind=openai_http,target={target.url},model={target.model},extras.body.temperature=0",
            "--profile": "kind=replay,schedule_turn=timestamp",
            "--data": f"kind=json_file,path={data}",
            "--output": f"kind=json,path={_REPORT}",
        }
        flat = [part for option in options.items() for part in option]
        return [str(program), "run", *flat, "--disable-console"]

    return Generator(PIN.name, PIN.version, command, read)


def read(folder: Path) -> Report:
    (benchmark,) = json.loads((folder / _REPORT).read_text(encoding="utf-8"))["benchmarks"]
    metrics = benchmark["metrics"]
    return Report(
        completed=metrics["request_totals"]["successful"],
        percentiles_ms={
            name: {
                percent: to_ms * metrics[field]["successful"]["percentiles"][f"p{percent}"]
                for percent in PERCENTILES
            }
            for name, (field, to_ms) in _FIELDS.items()
        },
        sent_s=[request["request_start_time"] for request in benchmark["requests"]["successful"]],
    )
