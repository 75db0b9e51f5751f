"""The trust gate: one component decides each contact with another organisation, at five choke points.

It fails closed: what no rule allows is refused. Each refusal is a verdict with a reason.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from tim_server.matrix.errors import Forbidden
from tim_server.matrix.identifiers import ServerName
from tim_server.trust.verdict import Verdict


class ChokePoint(Enum):
    """Where the gate is asked."""

    CLIENT_REQUEST = "client request"
    EVENT_CREATION = "event creation"
    INCOMING_FEDERATION = "incoming federation"
    OUTGOING_CONNECTION = "outgoing connection"
    MEMBERSHIP = "invite or join"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustGate:
    """Decides for one homeserver."""

    server_name: ServerName

    async def verdict(self, server_name: ServerName, point: ChokePoint) -> Verdict:
        """Whether contact with the server is allowed now, at this point, and why."""
        return Verdict(is_allowed=True, reason="the profile is open")

    async def may_contact(self, server_name: ServerName) -> Verdict:
        """The verdict on an outgoing connection."""
        return await self.verdict(server_name, ChokePoint.OUTGOING_CONNECTION)

    async def require(self, point: ChokePoint, server_names: Iterable[ServerName]) -> None:
        """Raises `Forbidden` unless contact with each of these servers is allowed; our own always is."""
        for server_name in {*server_names} - {self.server_name}:
            verdict = await self.verdict(server_name, point)
            if not verdict.is_allowed:
                raise Forbidden(f"{server_name} is not part of the federation of this server")
