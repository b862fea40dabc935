"""What has been said in one conversation so far, with the answers that it really got. Pure."""

from collections.abc import Mapping
from typing import Any

_TURNS = ("messages", "input")
"""Where a chat or a message, and where a response, has what was said."""


class History:
    def __init__(self) -> None:
        self._said: list[Any] = []

    def asking(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The body with all that was said before in front of what is new; one without turns as it is."""
        for name in _TURNS:
            new = body.get(name)
            if isinstance(new, list | tuple):
                self._said = [*self._said, *new]
                return {**body, name: self._said}
        return body

    def answered(self, text: str) -> None:
        self._said = [*self._said, {"role": "assistant", "content": text}]
