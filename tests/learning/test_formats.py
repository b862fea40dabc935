import gzip
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from balancer.learning.formats import MAX_TOLD, read
from balancer.learning.rows import BadData, Row

ARENA = {"model_a": "gpt", "model_b": "llama"}


def written(folder, *lines, name="rows.jsonl"):
    path = folder / name
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ({"prompt": "x", "weak": 0, "strong": 1}, Row("x", {"weak": 0.0, "strong": 1.0})),
        (
            {"prompt": "x", "weak": 0.25, "strong": True, "domain": "d"},
            Row("x", {"weak": 0.25, "strong": 1.0}, "d"),
        ),
        ({"prompt": "x", "winner": "strong"}, Row("x", {"weak": 0.0, "strong": 1.0})),
        ({"prompt": "x", "winner": "weak"}, Row("x", {"weak": 1.0, "strong": 0.0})),
        ({"prompt": "x", "winner": "tie", "category": "c"}, Row("x", {"weak": 0.5, "strong": 0.5}, "c")),
        (
            {"prompt": "x", "served": "weak", "ok": 1, "p": 0.97, "decision_id": "d"},
            Row("x", {"weak": 1.0}, p=0.97, logged=True),
        ),
        ({"prompt": "x", **ARENA, "winner": "model_b"}, Row("x", {"gpt": 0.0, "llama": 1.0})),
        ({"prompt": "x", **ARENA, "winner": "tie (bothbad)"}, Row("x", {"gpt": 0.5, "llama": 0.5})),
        (
            {"prompt": ["first", "x"], **ARENA, "winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0},
            Row("x", {"gpt": 1.0, "llama": 0.0}),
        ),
        (
            {
                "query": "x",
                "task_name": "t",
                "model_name": "m",
                "performance": 0.5,
                "embedding_id": 3,
                "token_num": 9,
            },
            Row("x", {"m": 0.5}, "t"),
        ),
        (
            {"prompt": "x", "gpt-4": 1, "mixtral": 0, "gpt-4_response": "…"},
            Row("x", {"gpt-4": 1.0, "mixtral": 0.0}),
        ),
        (
            {
                "messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "x"}],
                "weak": 1,
                "strong": 1,
            },
            Row("x", {"weak": 1.0, "strong": 1.0}),
        ),
        (
            {
                "messages": [
                    {"role": "system", "content": "be terse"},
                    {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url"}]},
                    {"role": "assistant", "content": "y"},
                ],
                "weak": 1,
                "strong": 1,
            },
            Row("x", {"weak": 1.0, "strong": 1.0}),
        ),
    ],
)
def test_shapes(tmp_path, line, row):
    assert read(written(tmp_path, line, "")) == [row]


def test_columns_of_a_table(tmp_path):
    head = "prompt,mixtral-8x7b,gpt-4,mixtral-8x7b_response,contaminated"
    path = written(tmp_path, head, '"a, b",True,False,"x",0', "c,1.0,0.5,,0", "d,1,1,,1", name="rows.csv")
    assert read(path) == [
        Row("a, b", {"mixtral-8x7b": 1.0, "gpt-4": 0.0}),
        Row("c", {"mixtral-8x7b": 1.0, "gpt-4": 0.5}),
    ]


def test_compressed(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"prompt": "x", "weak": 0, "strong": 1}\n'))
    assert len(read(path)) == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "expected one JSON object"),
        ("[1]", "expected one JSON object"),
        ({"weak": 0, "strong": 1}, "prompt: expected text here, or messages"),
        ({"prompt": " ", "weak": 0, "strong": 1}, "prompt: expected text, given ' '"),
        ({"prompt": "x", "weak": 0}, "strong: expected a number from 0 to 1, given none"),
        ({"prompt": "x", "weak": 0, "strong": 7.5}, "strong: expected a number from 0 to 1, given 7.5"),
        ({"prompt": "x", "weak": 0, "strong": "good"}, "strong: expected a number from 0 to 1, given 'good'"),
        ({"prompt": "x"}, "expected labels: weak and strong, winner, or served"),
        ({"prompt": "x", "winner": "gpt-4"}, "winner: expected strong, weak or tie, given 'gpt-4'"),
        ({"prompt": "x", "winner": ["tie"]}, "winner: expected strong, weak or tie"),
        ({"prompt": "x", "served": "weak", "ok": 1}, "p: expected a number from 0 to 1, given none"),
        ({"prompt": "x", "served": "weak", "ok": 1, "p": 0}, "p: expected a probability above 0, given 0"),
        ({"prompt": "x", "served": "weak", "p": 0.5}, "ok: expected a number from 0 to 1, given none"),
        ({"prompt": "x", "served": 3, "ok": 1, "p": 0.5}, "served: expected the name of a model, given 3"),
        ({"prompt": "x", **ARENA, "winner": "gpt"}, "winner: expected model_a, model_b or tie, given 'gpt'"),
        (
            {"prompt": "x", **ARENA},
            "winner_model_a, winner_model_b, winner_tie: expected one of them to be 1",
        ),
        ({"prompt": "x", "model_a": "m", "model_b": "m", "winner": "tie"}, "model_b: expected another model"),
        (
            {"messages": [{"role": "assistant", "content": "a"}], "weak": 0, "strong": 1},
            "messages: expected a user's turn",
        ),
        ({"messages": "hi", "weak": 0, "strong": 1}, "messages: expected a list of objects"),
        ({"query": "x", "performance": 0.5}, "model: expected the name of a model, given none"),
    ],
)
def test_a_bad_line_is_told_with_its_number_and_field(tmp_path, line, said):
    path = written(tmp_path, {"prompt": "x", "weak": 0, "strong": 1}, line)
    with pytest.raises(BadData) as wrong:
        read(path)
    (mistake,) = wrong.value.mistakes
    assert mistake.startswith(f"{path}:2: {said}")


def test_every_bad_line_is_told_up_to_a_limit(tmp_path):
    path = written(tmp_path, *["{}"] * (MAX_TOLD + 5))
    with pytest.raises(BadData) as wrong:
        read(path)
    assert len(wrong.value.mistakes) == MAX_TOLD + 1
    assert wrong.value.mistakes[-1] == f"{path}: and 5 more"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rows.jsonl", b""),
        ("rows.jsonl.gz", b"no gzip"),
        ("rows.jsonl.gz", gzip.compress(b'{"prompt": "x", "weak": 0, "strong": 1}\n', mtime=0)[:-9]),
        ("rows.csv", b"prompt,a\n\xff\xfe,1\n"),
        ("rows.csv", b'prompt,a\n"x,1\n'),
        ("rows.csv", b"prompt,a\nx,1,2\n"),
        ("rows.jsonl", b'{"prompt": "\xff"}\n'),
    ],
)
def test_files_that_are_none(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(BadData, match=name.replace(".", r"\.")):
        read(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from(
    [
        "prompt",
        "messages",
        "query",
        "weak",
        "strong",
        "winner",
        "served",
        "ok",
        "p",
        "model_a",
        "model_b",
        "performance",
        "task",
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    st.dictionaries(
        fields, json_values | st.sampled_from(["x", "weak", "strong", "tie", 0, 1, 0.5]), max_size=6
    )
)
@example({"prompt": "x", "weak": 1e400, "strong": 1})
@example({"prompt": "x", "p": 10**400, "served": "weak", "ok": 1})
@example({"prompt": [[]], "weak": 0, "strong": 1})
def test_any_object_is_a_row_or_a_mistake_of_its_line(tmp_path, line):
    path = written(tmp_path, json.dumps(line))
    try:
        (row,) = read(path)
    except BadData as wrong:
        assert all(mistake.startswith(f"{path}") for mistake in wrong.mistakes)
    else:
        assert row.prompt.strip()
        assert all(0 <= quality <= 1 for quality in row.quality.values())
        assert 0 < row.p <= 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from(["x.jsonl", "x.csv", "x.jsonl.gz", "x.csv.gz"]))
def test_any_bytes_are_rows_or_a_mistake(tmp_path, data, name):
    path = tmp_path / name
    path.write_bytes(data)
    try:
        assert read(path)
    except BadData as wrong:
        assert wrong.mistakes
