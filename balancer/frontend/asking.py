"""What a request asks for: its prompt as decisions see it, its session, a model or tier of our choosing, whole JSON."""

from collections.abc import Mapping, Sequence

from balancer.config.extras import can_heal
from balancer.core.decider import Decider
from balancer.core.errors import bad_field
from balancer.core.request.multipart import form_field
from balancer.core.request.parse import decode, peek
from balancer.core.types import Json, Reads, RequestView, RouteKind
from balancer.tiered import Asked, Tiers

HEAL_HEADER = "x-balancer-heal-json"

PLAIN = Asked()


class Asking:
    """`heal`: answers are mended of whoever does not ask for the contrary."""

    def __init__(
        self, decider: Decider, tiers: Tiers | None, session_headers: Sequence[str], *, heal: bool
    ) -> None:
        self._decider = decider
        self._tiers = tiers
        self._session_headers = session_headers
        self._heal = heal

    def understand(
        self, route: RouteKind, headers: Mapping[str, str], body: bytes, form: str | None
    ) -> tuple[RequestView, Asked]:
        """`form` is the content type of a body that may be one.

        Raises: Refused (400), naming what cannot be asked for.
        """
        if self._tiers is None and not self._heal and HEAL_HEADER not in headers:
            return self._decider.understand(route, body, form), PLAIN
        asked = self._asked(headers, body, form)
        retarget = asked.ask is not None
        view = self._decider.understand(route, body, form, fields=asked.fields, retarget=retarget)
        return view, asked

    def name_session(self, view: RequestView, headers: Mapping[str, str], asked: Asked) -> None:
        """A header that names the session goes before the body."""
        if self._decider.reads is not Reads.ENVELOPE or asked.ask is not None:
            for name in self._session_headers:
                if name in headers:
                    view.session = headers[name]
                    break

    def _asked(self, headers: Mapping[str, str], body: bytes, form: str | None) -> Asked:
        form = form if form is not None and form.startswith("multipart/") else None
        fields: Json
        if form is not None:
            fields, whole = {"model": form_field(body, form, "model")}, True
        elif self._decider.reads is Reads.ENVELOPE:
            fields, whole = peek(body), False
        else:
            fields, whole = decode(body), True
        ask = None if self._tiers is None else self._tiers.ask(fields, headers)
        heal, by = self._heal, HEAL_HEADER
        if ask is not None and ask.heal:
            heal, by = True, "plugins"
        wish = headers.get(HEAL_HEADER)
        if wish is not None:
            if wish not in {"0", "1"}:
                raise bad_field(HEAL_HEADER, "0 or 1")
            heal = wish == "1"
        if heal and not can_heal():
            raise bad_field(by, "no healing, since the extra `heal` is not installed here")
        if not whole:
            fields = decode(body) if heal or ask is not None else None
        return Asked(fields, ask, form, heal)
