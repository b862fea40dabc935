"""Commands of the page on training run as they stand, one after the other, and its tables are what the code has."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from balancer.config import load
from balancer.config.classifier_entry import ClassifierEntry
from balancer.learning.routers import ROUTERS
from balancer.tier_training import Kind

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "balancer" / "core" / "tiering" / "README.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## Training your own\n")[1].split("\n## ")[0]


def test_the_commands_run_in_their_order(tmp_path):
    lines = [
        line
        for block in re.findall(r"^```bash\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    assert len(lines) == 4
    shutil.copytree(ROOT / "tests" / "data" / "tiers", tmp_path / "tests" / "data" / "tiers")
    said = []
    for line in lines:
        words = shlex.split(line)
        assert words[:2] == ["balancer", "tier"]
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        said.append((done.returncode, done.stderr))
        assert done.stdout, done.stderr
    assert said == [(0, "")] * 4
    assert (tmp_path / "mine.npz").exists()


def test_the_settings_are_settings(tmp_path):
    [block] = re.findall(r"^```yaml\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)
    path = tmp_path / "balancer.yaml"
    path.write_text(
        f"replicas: http://a\ntiers: {{small: {{model: s}}, large: {{model: l}}}}\n{block}", encoding="utf-8"
    )
    asked = load({}, {}, path).settings.virtual_models["auto"].classifier.judge
    assert (asked.url, asked.model, asked.timeout_s) == ("http://judge:8000", "Qwen/Qwen3-0.6B", 0.5)
    named = re.findall(r"^\| `\{?(\w+):.*?(?:, (\w+): (?:\{|FOLDER).*)?` \|", SECTION, re.MULTILINE)
    assert {word for pair in named for word in pair if word} == set(ClassifierEntry.model_fields)


def test_the_kinds_are_all_there():
    named = re.findall(r"^\| `(\w+)`", SECTION.split("### Kinds")[1].split("###")[0], re.MULTILINE)
    assert named == list(ROUTERS) == [kind.value for kind in Kind]
