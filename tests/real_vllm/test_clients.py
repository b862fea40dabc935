"""Clients that others wrote: the `openai` package and vLLM's own benchmark."""

import json
import subprocess

import pytest

from tests.real_vllm.wire import MODEL

pytestmark = pytest.mark.real_vllm
openai = pytest.importorskip("openai")

MESSAGES = [{"role": "user", "content": "hello there"}]
BENCHMARK = """
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""


@pytest.fixture
def client(balancer):
    with openai.OpenAI(base_url=f"{balancer}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
def bench_serve(balancer, vllm_python, model, tmp_path):
    def run(*flags: str):
        command = [str(vllm_python), "-c", BENCHMARK, "--base-url", balancer, "--model", MODEL, *flags]
        command += [
            "--tokenizer",
            str(model),
            "--dataset-name",
            "random",
            "--num-prompts",
            "48",
            "--ignore-eos",
        ]
        command += ["--random-input-len", "200", "--random-output-len", "16", "--max-concurrency", "16"]
        command += ["--save-result", "--result-dir", str(tmp_path), "--result-filename", "result.json"]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stderr[-3000:]
        return json.loads((tmp_path / "result.json").read_text())

    return run


def test_chat(client):
    answer = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=8, temperature=0)
    assert answer.usage.completion_tokens == 8
    stream = client.chat.completions.create(
        model=MODEL,
        messages=MESSAGES,
        max_tokens=8,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert (
        "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        == answer.choices[0].message.content
    )
    assert chunks[-1].usage.completion_tokens == 8


def test_completions(client):
    answer = client.completions.create(model=MODEL, prompt="hello there", max_tokens=8, temperature=0)
    stream = client.completions.create(
        model=MODEL, prompt="hello there", max_tokens=8, temperature=0, stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in stream) == answer.choices[0].text


def test_responses(client):
    answer = client.responses.create(model=MODEL, input="hello there", max_output_tokens=8, temperature=0)
    assert answer.usage.output_tokens == 8
    assert client.responses.retrieve(answer.id).output_text == answer.output_text
    with client.responses.stream(
        model=MODEL, input="hello there", max_output_tokens=8, temperature=0
    ) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    assert text == answer.output_text


def test_models(client):
    assert [model.id for model in client.models.list()] == [MODEL]


def test_errors_have_their_classes(client):
    with pytest.raises(openai.NotFoundError, match="nope"):
        client.chat.completions.create(model="nope", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError, match="context length"):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "water " * 9000}])
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=MODEL, messages=MESSAGES, temperature=-3, stream=True)


@pytest.mark.parametrize(
    ("backend", "path"), [("vllm", "/v1/completions"), ("openai-chat", "/v1/chat/completions")]
)
def test_vllm_bench_serve_has_no_failure(bench_serve, backend, path):
    result = bench_serve("--backend", backend, "--endpoint", path)
    assert (result["completed"], result["failed"]) == (48, 0)
    assert result["total_output_tokens"] == 48 * 16
