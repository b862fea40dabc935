import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.journal.chains import ChainReader, ChainWriter

TOP = 2**64 - 1


def chain(path):
    """Keys that are chained: each stands for all that came before it."""
    return [hash(("key", *path[: depth + 1])) & TOP for depth in range(len(path))]


@given(st.lists(st.lists(st.integers(0, 2), max_size=12), max_size=60), st.integers(1, 40))
def test_what_is_read_is_what_was_written(paths, generation):
    writer, reader = ChainWriter(generation), ChainReader(generation)
    for path in paths:
        assert reader.read(*writer.write(chain(path))) == chain(path)


def test_only_what_is_new_is_written():
    writer = ChainWriter()
    assert len(writer.write(chain("abcd"))[1]) == 4 * 8
    assert len(writer.write(chain("abcdef"))[1]) == 2 * 8
    assert len(writer.write(chain("abcx"))[1]) == 8
    assert writer.write(chain("ab"))[1] == b""


def test_what_is_used_again_is_not_written_again_however_much_comes_between():
    writer = ChainWriter(10)
    writer.write(chain("abcd"))
    for number in range(20):
        writer.write(chain([number] * 6))
        assert writer.write(chain("abcd"))[1] == b""


def test_what_is_not_used_is_forgotten():
    writer = ChainWriter(10)
    writer.write(chain("abcd"))
    for number in range(20):
        writer.write(chain([number] * 6))
    assert len(writer.write(chain("abcd"))[1]) == 4 * 8
    assert len(writer._young) + len(writer._old) < 40


@given(st.lists(st.tuples(st.integers(-5, 400), st.binary(max_size=40)), max_size=30))
def test_damage_is_told(written):
    reader = ChainReader(7)
    for place, packed in written:
        try:
            keys = reader.read(place, packed)
        except ValueError:
            continue
        assert all(0 <= key <= TOP for key in keys)


@pytest.mark.parametrize("place", [1, 99, -1])
def test_a_place_that_nobody_gave(place):
    with pytest.raises(ValueError, match="chain"):
        ChainReader().read(place, b"")
