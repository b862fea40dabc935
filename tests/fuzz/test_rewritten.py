"""Whatever body is understood as a request for a virtual model is sent on as the same one for another; nothing else is raised."""

import json
from contextlib import suppress

from hypothesis import given

from balancer.core.errors import Refused
from balancer.core.request.multipart import form_field
from balancer.core.request.parse import decode
from balancer.core.tiering.ask import CONSUMED, read_ask
from balancer.core.tiering.catalog import Catalog
from balancer.core.tiering.rewrite import rewritten
from balancer.core.tiering.types import StrongShare, Tier, VirtualModel
from tests.fuzz.mutations import mutated
from tests.fuzz.test_requests import RAW, SOUND

CATALOG = Catalog(
    [Tier("small", "q8"), Tier("large", "l70")],
    [VirtualModel("m", ("small", "large"), StrongShare(0.3), "large")],
    {"n": "m"},
)
BODIES = [
    *RAW,
    b'{"model":"m:floor","models":["large","n"],"route":"fallback","x":[{"model":"m"}]}',
    b'{"x": "}", "provider": {"order": ["small"], "max_price": {"prompt": 1}, "sort": "price"}, "model": "m" , "y":{}}',
    b'{"model":"router-m-0.5","plugins":[{"id":"auto-router","allowed_models":["q*"],"cost_quality_tradeoff":3}],"model":"m"}',
]


@given(mutated(BODIES, most=6))
def test_a_body_of_any_shape(body):
    fields = decode(body)
    with suppress(Refused):
        ask = read_ask(fields, None, CATALOG)
        assert ask is None or ask.name
    if not isinstance(fields, dict):
        with suppress(ValueError):
            rewritten(body, "q8")
        return
    found = decode(rewritten(body, "q8"))
    kept = {name: value for name, value in fields.items() if name not in CONSUMED}
    assert json.dumps(found, sort_keys=True) == json.dumps(kept | {"model": "q8"}, sort_keys=True)


@given(
    mutated([SOUND, SOUND.replace(b"--b", b"----x")], most=8), mutated([b"multipart/form-data; boundary=b"])
)
def test_a_form_of_any_shape(body, content_type):
    text = content_type.decode("latin-1")
    if not text.startswith("multipart/"):
        return
    try:
        changed = rewritten(body, "q8", text)
    except ValueError:
        assert form_field(body, text, "model") is None
        return
    assert form_field(changed, text, "model") == "q8"
