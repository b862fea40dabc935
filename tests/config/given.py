"""What is given to `load`, and what it says."""

from pathlib import Path

import pytest
import yaml

from balancer.config import ConfigError, load

REPLICAS = {"replicas": ["http://gpu-a:8000"]}


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "balancer.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return path


def told(flags=None, environ=None, file=None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(flags or {}, environ or {}, file)
    return [str(mistake) for mistake in caught.value.mistakes]


def only(mistakes: list[str]) -> str:
    [mistake] = mistakes
    return mistake
