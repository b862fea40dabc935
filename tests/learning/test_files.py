import io
import zipfile

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from balancer.core.tiering.score.features import BUCKETS, SHAPE, VERSION
from balancer.learning.calibrate import ALL_STRONG, Step
from balancer.learning.files import FORMAT, Metadata, Source, WrongFile, load, save

ARRAYS = {
    "words": np.zeros((BUCKETS, 2), np.float16),
    "shape": np.zeros((len(SHAPE), 2)),
    "bias": np.array([0.4, 0.6]),
    "prior": np.zeros(2),
    "centre": np.zeros(len(SHAPE)),
    "scale": np.ones(len(SHAPE)),
    "logistic": np.array(0),
    "gains": np.array([0.0, 1.0]),
    "seen": np.zeros(BUCKETS // 8, np.uint8),
    "spreads": np.array([[0.0], [0.1]]),
}


def metadata(**more):
    given = {
        "format": FORMAT, "features": VERSION, "router": "ridge", "head": "words", "models": ["weak", "strong"],
        "date": "2026-11-28", "seed": 0, "rows": 100, "data": [Source("rows.jsonl", "ab", 100)], "split": "5 folds",
        "evaluation": {}, "calibration": [ALL_STRONG, Step(0.5, 0.5, 0.97, 0.95)], "enabled": True,
    }  # fmt: skip
    return Metadata(**given | more)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "router.npz"
    save(path, metadata(), ARRAYS)
    stored = load(path)
    assert stored.metadata == metadata()
    assert stored.classifier().models == ("weak", "strong")
    assert stored.promise(0.95).step == Step(0.5, 0.5, 0.97, 0.95)
    assert stored.promise(0.96).step == ALL_STRONG


def test_the_same_router_is_the_same_bytes(tmp_path):
    for name in "ab":
        save(tmp_path / name, metadata(), ARRAYS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "router.npz"
    save(path, metadata(), ARRAYS)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="no array"):
        save(path, metadata(), {"broken": Broken()})
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["router.npz"]


class Broken:
    def __array__(self, *_, **__):
        raise ValueError("no array")


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        save(tmp_path / "no" / "router.npz", metadata(), ARRAYS)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"format": 0}, "format 0: this balancer reads format 1; train it anew"),
        ({"features": 99}, f"features of version 99: this balancer has version {VERSION}; train it anew"),
    ],
)
def test_other_versions_are_refused_by_name(tmp_path, more, said):
    save(tmp_path / "router.npz", metadata(**more), ARRAYS)
    with pytest.raises(WrongFile, match=said):
        load(tmp_path / "router.npz")


def test_a_router_that_its_evaluation_refused_is_not_served(tmp_path):
    save(tmp_path / "router.npz", metadata(enabled=False, refusal="it is no use"), ARRAYS)
    stored = load(tmp_path / "router.npz")
    with pytest.raises(WrongFile, match="not enabled when it was trained: it is no use"):
        stored.classifier()
    assert stored.classifier(disabled=True)


def test_arrays_that_do_not_fit(tmp_path):
    save(tmp_path / "router.npz", metadata(head="near"), ARRAYS)
    with pytest.raises(WrongFile, match="needs the array known"):
        load(tmp_path / "router.npz").classifier()


def packed(**members):
    with io.BytesIO() as written:
        np.savez(written, **members)
        return written.getvalue()


def as_bytes(value):
    return np.frombuffer(msgspec.json.encode(value), np.uint8)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "expected a file that `balancer tier train` wrote"),
        (b"PK\x03\x04 no zip", "expected a file"),
        (packed(words=np.zeros(3)), "it has no metadata"),
        (packed(metadata=as_bytes([1])), "metadata: Expected `object`"),
        (
            packed(metadata=as_bytes({"format": FORMAT, "features": VERSION})),
            "metadata: Object missing required field",
        ),
        (packed(metadata=np.array([{}], dtype=object)), "Object arrays cannot be loaded"),
        (packed(metadata=as_bytes({}))[:-30], "expected a file"),
    ],
    ids=range(7),
)
def test_files_that_are_none(tmp_path, data, said):
    path = tmp_path / "router.npz"
    path.write_bytes(data)
    with pytest.raises(WrongFile, match=said):
        load(path)


def test_a_file_that_grows_beyond_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr("balancer.learning.files.MOST_BYTES", 1000)
    save(tmp_path / "router.npz", metadata(), ARRAYS)
    with pytest.raises(WrongFile, match="expected at most 1000 bytes, unpacked"):
        load(tmp_path / "router.npz")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_a_damaged_file_is_refused_or_reads(tmp_path, data):
    path = tmp_path / "router.npz"
    save(path, metadata(), ARRAYS)
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[: data.draw(st.integers(len(whole) // 2, len(whole)))])
    try:
        load(path).classifier()
    except WrongFile as wrong:
        assert str(wrong)


def test_a_file_is_a_zip_that_numpy_reads(tmp_path):
    save(tmp_path / "router.npz", metadata(), ARRAYS)
    assert zipfile.is_zipfile(tmp_path / "router.npz")
