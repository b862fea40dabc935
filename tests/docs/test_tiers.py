"""What the pages say of tiers is what holds."""

import re
from pathlib import Path

import pytest
import yaml

from balancer.config import load
from balancer.config.build_tiering import make_tiering
from balancer.config.report import warnings_of
from balancer.config.tiering_rules import KINDS
from balancer.core.errors import Refused
from balancer.core.tiering.ask import read_ask
from balancer.core.tiering.types import Ask, Sort
from tests.config.given import written

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Tiers\n")[2].partition("\n## ")[0]
ROOM = (ROOT / "balancer/core/tiering/README.md").read_text(encoding="utf-8")
ENVIRON = {"HOSTED_API_KEY": "k"}


def settings(tmp_path, text):
    content = yaml.safe_load(text)
    content.setdefault("replicas", ["http://gpu-a:8000", "http://gpu-c:8000"])
    return load({}, ENVIRON, written(tmp_path, content)).settings


def test_the_settings_of_the_readme(tmp_path):
    (block,) = re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    found = settings(tmp_path, block)
    assert [each for each in warnings_of(found) if "tenant" not in each] == []
    catalog = make_tiering(found, ENVIRON).catalog

    def ask(header=None, **fields):
        return read_ask(fields, header, catalog)

    assert ask(model="gpt-4o") == Ask("auto")
    assert ask(model="meta-llama/Llama-3.3-70B-Instruct") is None
    assert ask(model="auto:floor") == Ask("auto", sort=Sort.PRICE)
    assert ask(model="router-auto-0.7") == Ask("auto", threshold=0.7)
    assert ask(model="auto", models=["large", "gpt-5.2"]).models == ("large", "gpt-5.2")
    assert ask(">=large", model="auto").min_tier == "large"
    with pytest.raises(Refused) as caught:
        ask(model="auto", provider={"quantizations": []})
    assert caught.value.param == "provider.quantizations"
    assert f'`param: "{caught.value.param}"`' in " ".join(README.split())


def test_the_file_to_begin_with_has_nothing_to_warn_of(tmp_path):
    found = settings(tmp_path, (ROOT / "deploy/tiers/balancer.yaml").read_text(encoding="utf-8"))
    assert warnings_of(found) == []
    made = make_tiering(found, {})
    assert made.catalog.virtuals.keys() == {"auto", "fast", "best"}


def test_every_kind_of_signal_is_told_of():
    table = ROOM.partition("| signal | holds if |")[2].partition("\n\n")[0]
    told = set(
        re.findall(
            r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines() if line.count("|") > 2)
        )
    )
    assert told == set(KINDS)
