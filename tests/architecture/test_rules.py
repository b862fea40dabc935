"""The rules of the house that a machine can hold."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "balancer").rglob("*.py"))
LIMITS = {"lifecycle.py": 250, "app.py": 250}
MAX_LINES = 400


def test_a_module_imports_only_what_stands_below_it():
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_one_room_and_says_which(path):
    text = path.read_text()
    name = str(path.relative_to(ROOT / "balancer"))
    assert text.count("\n") <= LIMITS.get(name, MAX_LINES)
    if text:
        assert ast.get_docstring(ast.parse(text)), "a module opens with its law"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_task_is_started_and_forgotten(path):
    """A group owns its tasks; all others are kept by who started them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            call = ast.unparse(node.value.func)
            if call.endswith(("create_task", "ensure_future", "run_coroutine_threadsafe")):
                assert call == "group.create_task", f"line {node.lineno}: {call}"


def test_tests_mirror_the_tree():
    own = {
        "architecture",
        "blackbox",
        "browser",
        "data",
        "docs",
        "fakes",
        "fuzz",
        "integration",
        "monitoring",
        "properties",
        "real_vllm",
        "benchmarks",
        "__pycache__",
    }
    rooms = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()} - own
    assert rooms <= {path.name for path in (ROOT / "balancer").iterdir() if path.is_dir()}
