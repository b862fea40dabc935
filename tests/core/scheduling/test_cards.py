"""Every policy has a card and every card a policy."""

import random
import re
from pathlib import Path
from typing import get_args

import pytest

from balancer.config import Settings
from balancer.config.build import make_policy

CARDS = Path(__file__).parents[3] / "balancer" / "core" / "scheduling" / "README.md"
POLICIES = get_args(Settings.model_fields["policy"].annotation)


def test_cards_and_policies_are_the_same():
    cards = re.findall(r"^## `(\w+)`$", CARDS.read_text(encoding="utf-8"), re.MULTILINE)
    assert cards == list(POLICIES)


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_is_called_as_its_setting(name):
    settings = Settings.model_validate({"replicas": ["http://a"], "policy": name})
    assert make_policy(settings, random.Random(0).random).name == name
