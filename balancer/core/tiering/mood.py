"""How a conversation was rated last: a signal for rules, and a reason to move it up.

Bounded; who was not rated for longest is forgotten first. A key is a hash under a secret that lives as long as the process and is
written nowhere: what is logged of conversations groups them, and leads back to no first message, not even to one that can be
guessed (BLAKE2 keyed, RFC 7693).
"""

from collections import OrderedDict
from hashlib import blake2b

MAX_MOODS = 100_000


class Moods:
    def __init__(self, secret: bytes, most: int = MAX_MOODS) -> None:
        """`secret`: up to 64 random bytes."""
        self._secret = secret
        self._most = most
        self._rating_of: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rating_of)

    def key(self, tenant: str, conversation: bytes) -> bytes:
        """8 bytes; empty, where there is no conversation. Two tenants who say the same have two conversations."""
        if not conversation:
            return b""
        said = tenant.encode("utf-8", "surrogatepass") + b"\xff" + conversation
        return blake2b(said, digest_size=8, key=self._secret).digest()

    def rate(self, key: bytes, rating: float) -> None:
        """`rating` in [0, 1]."""
        if not key:
            return
        self._rating_of[key] = rating
        self._rating_of.move_to_end(key)
        if len(self._rating_of) > self._most:
            self._rating_of.popitem(last=False)

    def of(self, tenant: str, conversation: bytes) -> float | None:
        """The last rating; None: it was never rated, or not lately."""
        return self._rating_of.get(self.key(tenant, conversation)) if self._rating_of else None
