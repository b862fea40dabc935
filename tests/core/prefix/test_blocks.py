from hypothesis import given
from hypothesis import strategies as st

from balancer.core.prefix.blocks import BLOCK_BYTES, block_keys


def shared(first, second):
    depth = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        depth += 1
    return depth


PROMPTS = st.integers(0, 4 * BLOCK_BYTES).map(lambda size: bytes(i % 251 for i in range(size)))


@given(PROMPTS, st.integers(0, 4 * BLOCK_BYTES), st.binary(max_size=2 * BLOCK_BYTES))
def test_keys_are_shared_exactly_as_far_as_whole_blocks_are(prompt, cut, tail):
    other = prompt[:cut] + tail
    common_bytes = shared(prompt, other)
    assert shared(block_keys(prompt), block_keys(other)) == common_bytes // BLOCK_BYTES


@given(st.binary(max_size=5 * BLOCK_BYTES))
def test_only_whole_blocks_have_a_key(prompt):
    assert len(block_keys(prompt)) == len(prompt) // BLOCK_BYTES


def test_equal_blocks_at_other_places_have_other_keys():
    keys = block_keys(b"a" * BLOCK_BYTES * 5)
    assert len(set(keys)) == 5


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_namespaces_share_nothing(one, other):
    prompt = b"x" * BLOCK_BYTES * 3
    same = block_keys(prompt, one) == block_keys(prompt, other)
    assert same == (one == other)
    if not same:
        assert not set(block_keys(prompt, one)) & set(block_keys(prompt, other))


def test_keys_are_the_same_in_every_process():
    assert block_keys(b"x" * BLOCK_BYTES, b"m\x1f") == [8408652189001527902]
