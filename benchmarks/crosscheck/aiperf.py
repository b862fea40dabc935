"""NVIDIA's AIPerf. It sends bodies as they are, at their times (Mooncake's trace format). What it calls inter-token latency
is a mean over one answer, `tpot` here; the gaps between events are its inter-chunk latency.
"""

import json
from pathlib import Path

from benchmarks.crosscheck.generator import (
    PERCENTILES,
    Generator,
    Report,
    write_lines,
    write_tokenizer,
)
from benchmarks.crosscheck.load import Load
from benchmarks.load.target import Target
from benchmarks.peers.environment import installed
from benchmarks.peers.peer import Tools
from benchmarks.peers.pins import Pin

PIN = Pin(name="aiperf", version="0.13.0", requirements=("aiperf==0.13.0",))
_FOLDER = "aiperf"
_FIELDS = {
    "ttft": "time_to_first_token",
    "tpot": "inter_token_latency",
    "itl": "inter_chunk_latency",
    "e2el": "request_latency",
}


def find(tools: Tools) -> Generator:
    program = installed(tools, PIN) / "aiperf"

    def command(load: Load, target: Target, folder: Path) -> list[str]:
        timed = zip(load.due_s, load.bodies(target.model), strict=True)
        data = write_lines(
            folder / "trace.jsonl", [{"timestamp": 1000 * due_s, "payload": body} for due_s, body in timed]
        )
        where = ["--url", target.url, "--model", target.model, "--endpoint-type", "chat", "--streaming"]
        what = ["--input-file", str(data), "--custom-dataset-type", "mooncake_trace", "--fixed-schedule"]
        count = ["--tokenizer", str(write_tokenizer(folder)), "--use-server-token-count"]
        one = ["--workers-max", "1", "--record-processors", "1"]
        quiet = ["--ui", "none", "--no-gpu-telemetry", "--no-server-metrics", "--artifact-dir", _FOLDER]
        return [str(program), "profile", *where, *what, *count, *one, *quiet]

    return Generator(PIN.name, PIN.version, command, read)


def read(folder: Path) -> Report:
    home = folder / _FOLDER
    result = json.loads((home / "profile_export_aiperf.json").read_text(encoding="utf-8"))
    records = (home / "profile_export.jsonl").read_text(encoding="utf-8").splitlines()
    return Report(
        completed=int(result["request_count"]["avg"]),
        percentiles_ms={
            name: {percent: float(result[field][f"p{percent}"]) for percent in PERCENTILES}
            for name, field in _FIELDS.items()
        },
        sent_s=[json.loads(record)["metadata"]["request_start_ns"] / 1e9 for record in records],
    )
