"""The last rating of a conversation: whose it is, that it is bounded, and that keys tell nothing."""

from balancer.core.tiering.mood import Moods

TALK, OTHER = b"t" * 16, b"o" * 16


def test_the_last_rating_counts():
    moods = Moods(b"s" * 16)
    assert moods.of("a", TALK) is None
    for rating in (1.0, 0.25):
        moods.rate(moods.key("a", TALK), rating)
    assert moods.of("a", TALK) == 0.25
    assert moods.of("a", OTHER) is None
    moods.rate(moods.key("a", TALK), 0.5)
    assert moods.of("a", TALK) == 0.5


def test_the_same_words_of_another_tenant_are_another_conversation():
    moods = Moods(b"s" * 16)
    moods.rate(moods.key("a", TALK), 0.0)
    assert moods.of("b", TALK) is None


def test_the_longest_unrated_is_forgotten_first():
    moods = Moods(b"s" * 16, most=2)
    keys = [moods.key("", bytes([number]) * 16) for number in range(3)]
    for key in (keys[0], keys[1], keys[0], keys[2]):
        moods.rate(key, 0.0)
    assert len(moods) == 2
    assert moods.of("", b"\x01" * 16) is None
    assert moods.of("", b"\x00" * 16) == 0.0


def test_no_conversation_has_no_mood():
    moods = Moods(b"s" * 16)
    moods.rate(moods.key("a", b""), 0.0)
    assert len(moods) == 0
    assert moods.of("a", b"") is None


def test_keys_depend_on_the_secret():
    assert Moods(b"1").key("a", TALK) != Moods(b"2").key("a", TALK)
    assert len(Moods(b"1").key("a\udcff", TALK)) == 8
