"""The trust gate: one component decides each contact with another organisation, at five choke points.

It fails closed: what no rule allows is refused. Each refusal is a verdict with a reason, which is counted, logged and
written down. Verdicts come from memory; only for a server that nobody knows the directory may be fetched once more.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from tim_server.matrix.errors import Forbidden
from tim_server.matrix.identifiers import ServerName
from tim_server.services.trust.choke_points import ChokePoint
from tim_server.services.trust.decisions import DecisionLog
from tim_server.services.trust.knowledge import TrustKnowledge
from tim_server.trust.contacts import is_same_server, judge_name
from tim_server.trust.verdict import Verdict

__all__ = ["ChokePoint", "TrustGate"]


async def _nothing_to_look_at() -> None:
    """No source could list a server that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustGate:
    """Decides for one homeserver. `look_again` asks the sources of trust once more, unless that was done just now."""

    server_name: ServerName
    knowledge: TrustKnowledge
    decisions: DecisionLog
    look_again: Callable[[], Awaitable[None]] = _nothing_to_look_at

    def is_listed(self, server_name: ServerName) -> bool:
        """Whether this server may have to do with a server of that name, from memory: for looking at many names.
        Nothing is written down."""
        return judge_name(server_name, self.knowledge.view).is_allowed

    def judge(self, server_name: ServerName, point: ChokePoint) -> Verdict:
        """As `verdict`, from memory only."""
        verdict = judge_name(server_name, self.knowledge.view)
        if not verdict.is_allowed:
            self.decisions.refused(point, server_name, verdict.reason)
        return verdict

    async def verdict(self, server_name: ServerName, point: ChokePoint) -> Verdict:
        """Whether contact with the server is allowed now, at this point, and why. A refusal is written down."""
        if not self.is_listed(server_name):
            await self.look_again()
        return self.judge(server_name, point)

    async def may_contact(self, server_name: ServerName) -> Verdict:
        """The verdict on an outgoing connection."""
        return await self.verdict(server_name, ChokePoint.OUTGOING_CONNECTION)

    async def refused(self, point: ChokePoint, server_names: Iterable[ServerName]) -> set[ServerName]:
        """Those of the servers with which contact is not allowed."""
        return {name for name in {*server_names} if not (await self.verdict(name, point)).is_allowed}

    async def require(self, point: ChokePoint, server_names: Iterable[ServerName]) -> None:
        """Raises `Forbidden` unless contact with each of these servers is allowed; our own always is."""
        for server_name in {*server_names}:
            if is_same_server(server_name, self.server_name):
                continue
            verdict = await self.verdict(server_name, point)
            if not verdict.is_allowed:
                raise Forbidden(f"{server_name} is not part of the federation of this server")
