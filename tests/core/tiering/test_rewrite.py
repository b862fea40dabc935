"""Only the model's value changes, only what was consumed goes, and every parser finds the new name."""

import json

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from balancer.core.request.multipart import form_field
from balancer.core.tiering.ask import CONSUMED
from balancer.core.tiering.rewrite import rewritten

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["model", "models", "a", 'b"\\', "ü"]) | st.text(max_size=4), inner, max_size=4
        )
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(["model", "messages", "x", *CONSUMED, 'q"', "mödel"]) | st.text(max_size=4)
SPACE = st.text(alphabet=" \t\r\n", max_size=2)


@st.composite
def objects(draw):
    """The pairs, keys at times twice, and one way to write them."""
    pairs = draw(st.lists(st.tuples(KEYS, json_values), max_size=6))
    ascii_only = draw(st.booleans())

    def written(value):
        return json.dumps(
            value, ensure_ascii=ascii_only, separators=draw(st.sampled_from([(",", ":"), (", ", ": ")]))
        )

    parts = []
    for key, value in pairs:
        name = written(key)
        if key == "model" and draw(st.booleans()):
            name = '"mod\\u0065l"'
        parts.append(f"{draw(SPACE)}{name}{draw(SPACE)}:{draw(SPACE)}{written(value)}{draw(SPACE)}")
    text = f"{draw(SPACE)}{{{','.join(parts) or draw(SPACE)}}}{draw(SPACE)}"
    return pairs, text.encode("utf-8", "surrogatepass")


@given(objects(), st.text(min_size=1, max_size=8))
@example(([("a", 1)], b'{"a":1}'), "m")
def test_like_changing_the_decoded_pairs(drawn, name):
    pairs, body = drawn
    found = json.loads(rewritten(body, name).decode("utf-8", "surrogatepass"), object_pairs_hook=list)
    expected = [(key, name if key == "model" else value) for key, value in pairs if key not in CONSUMED]
    if "model" not in dict(pairs):
        expected.insert(0, ("model", name))
    assert repr(found) == repr(json.loads(_dumped(expected), object_pairs_hook=list))


def _dumped(pairs):
    return "{" + ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in pairs) + "}"


@given(objects(), st.text(min_size=1, max_size=8))
def test_whatever_else_stands_there_stays_byte_by_byte(drawn, name):
    _, body = drawn
    once = rewritten(body, name)
    assert rewritten(once, name) == once
    assert rewritten(rewritten(body, "another"), name) == once
    if b"model" not in body and b"\\u0065l" not in body:
        kept = rewritten(body, name, consumed=())
        assert kept.replace(b'"model": ' + json.dumps(name).encode(), b"", 1).replace(b"{,", b"{", 1) == body


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"auto"}', b'{"model":"m"}'),
        (b' { "model" : "a\\"uto" , "x":1 }\n', b' { "model" : "m" , "x":1 }\n'),
        (b'{"messages":[{"model":"auto"}],"model":"auto"}', b'{"messages":[{"model":"auto"}],"model":"m"}'),
        (b'{"model":"a","x":NaN,"model":"b"}', b'{"model":"m","x":NaN,"model":"m"}'),
        (b'{"models":["a","b"],"x":1}', b'{"model": "m","x":1}'),
        (b'{"x":1, "provider":{"sort":"price"}, "model":"a"}', b'{"x":1, "model":"m"}'),
        (b'{"model":"a", "route":"fallback"}', b'{"model":"m"}'),
        (b"{}", b'{"model": "m"}'),
        (b'{"s":"\\ud800","model":null}', b'{"s":"\\ud800","model":"m"}'),
        (b'{"model":{"model":1},"x":{"models":2}}', b'{"model":"m","x":{"models":2}}'),
        ('{"model":"ä"}'.encode("utf-16"), '{"model":"m"}'.encode("utf-16")),
        (b'\xef\xbb\xbf{"model":"a"}', b'\xef\xbb\xbf{"model":"m"}'),
    ],
)
def test_by_example(body, expected):
    assert rewritten(body, "m") == expected


def test_a_name_of_any_letters():
    name = 'ä"\\\n'
    assert json.loads(rewritten(b'{"model":"auto"}', name)) == {"model": name}


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b'{"model":', b'{"model"', b'{"x":[}'])
def test_what_is_no_object(body):
    with pytest.raises(ValueError):
        rewritten(body, "m")


def test_spans_are_found_in_one_pass():
    """Keys that stand twice, and much space behind values, take the slow way: still in proportion to the body."""
    body = b"{" + b",".join(b'"a":1    ' for _ in range(20_000)) + b',"model":"x"}'
    assert rewritten(body, "m") == body.replace(b'"x"', b'"m"')


TYPE = 'multipart/form-data; boundary="b"'


def form(*fields):
    parts = [
        b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name, value)
        for name, value in fields
    ]
    return b"".join(parts) + b"--b--\r\n"


@pytest.mark.parametrize("model", [b"auto", b"", b"x" * 99])
def test_the_model_of_a_form(model):
    sound = (b"file", b'RIFF\r\n\r\n"model"')
    body = form(sound, (b"model", model), (b"x", b"auto"), (b"model", b"auto"))
    changed = rewritten(body, "whisper", TYPE)
    assert changed == form(sound, (b"model", b"whisper"), (b"x", b"auto"), (b"model", b"whisper"))
    assert form_field(changed, TYPE, "model") == "whisper"


def test_a_form_without_a_model():
    with pytest.raises(ValueError):
        rewritten(form((b"file", b"RIFF")), "whisper", TYPE)


def test_the_fast_way_and_the_slow_one_agree():
    body = b'{"messages": [{"role": "user", "content": "a, {b} \\" ]"}], "n": 1.5e3 , "model" :"auto", "t": true}'
    slow = body.replace(b'"n"', b'"nan": NaN, "n"')
    assert rewritten(slow, "m").replace(b'"nan": NaN, ', b"") == rewritten(body, "m")
    assert msgspec.json.decode(rewritten(body, "m"))["model"] == "m"
