"""Dice that fall the same way for the whole of a conversation.

The law: nothing is drawn per request. A conversation that is explored, or in an arm of a test, stays there, since a switch
within it throws its prefix cache away and makes its ratings tell nothing of either tier. A draw needs no memory and no state
shared between balancers: it is a hash of the conversation. `use` says what is drawn, so that who is explored does not tell
which arm somebody is in.
"""

from xxhash import xxh3_64_intdigest


def draw(conversation: bytes, use: str) -> float:
    """Uniform in [0, 1). Requests without a conversation have the decision's id in its place."""
    return (xxh3_64_intdigest(use.encode() + b"\xff" + conversation) >> 11) * 2.0**-53
