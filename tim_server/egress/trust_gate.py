"""The trust gate, as outgoing connections see it. `app.py` injects the real one; without one, nobody is contacted."""

from typing import Protocol

from tim_server.matrix.identifiers import ServerName
from tim_server.trust.verdict import Verdict


class TrustGate(Protocol):
    """Decides each contact with another organisation."""

    async def may_contact(self, server_name: ServerName, /) -> Verdict:
        """Whether this server may talk to `server_name` now."""
        ...


class ClosedGate:
    """Refuses every contact: what stands in where no gate was injected."""

    __slots__ = ()

    async def may_contact(self, server_name: ServerName, /) -> Verdict:
        """No."""
        return Verdict(is_allowed=False, reason=f"no trust gate is set up, so {server_name} is not contacted")
