"""`vllm bench serve`, of an interpreter that has vLLM. It draws its arrival times itself, from its seed."""

import json
import subprocess
from pathlib import Path

from benchmarks.crosscheck.generator import (
    PERCENTILES,
    Generator,
    Report,
    flat_percentiles,
    write_lines,
    write_tokenizer,
)
from benchmarks.crosscheck.load import Load
from benchmarks.load.target import Target
from benchmarks.peers.peer import UnavailableError

NAME = "vllm bench serve"
_REPORT = "vllm.json"
# The `vllm` program asks for a distribution of that name, and CPU builds have another.
_PROGRAM = """
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
from benchmarks.load.target import Target
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""
_VERSION = "import pandas; from importlib.metadata import version as v, packages_distributions as p; print(v(p()['vllm'][0]))"


def find(python: Path) -> Generator:
    try:
        told = subprocess.run(
            (python, "-c", _VERSION), capture_output=True, text=True, check=True, timeout=120
        )
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1:]
        raise UnavailableError(f"{python}: expected vllm[bench]: {' '.join(last)}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{python}: expected an interpreter with vllm[bench]: {error}") from error

    def command(load: Load, target: Target, folder: Path) -> list[str]:
        rows = [{"prompt": prompt, "output_tokens": load.output_tokens} for prompt in load.prompts]
        data = write_lines(folder / "prompts.jsonl", rows)
        where = ["--backend", "openai-chat", "--base-url", target.url, "--endpoint", "/v1/chat/completions"]
        whom = ["--model", target.model, "--tokenizer", str(write_tokenizer(folder)), "--skip-chat-template"]
        what = ["--dataset-name", "custom", "--dataset-path", str(data), "--disable-shuffle"]
        length = [
            "--num-prompts",
            str(len(rows)),
            "--custom-output-len=-1",
            "--ignore-eos",
            "--temperature",
            "0",
        ]
        when = ["--request-rate", str(load.rate), "--seed", str(load.seed)]
        figures = ["--percentile-metrics", "ttft,tpot,itl,e2el"]
        percents = ["--metric-percentiles", ",".join(map(str, PERCENTILES))]
        result = ["--save-result", "--save-detailed", "--result-filename", _REPORT, "--disable-tqdm"]
        options = [*where, *whom, *what, *length, *when, *figures, *percents, *result]
        return [str(python), "-c", _PROGRAM, *options]

    return Generator(NAME, told.stdout.strip(), command, read)


def read(folder: Path) -> Report:
    result = json.loads((folder / _REPORT).read_text(encoding="utf-8"))
    return Report(result["completed"], flat_percentiles(result), result["start_times"])
