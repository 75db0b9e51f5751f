"""Asking a room's policy server about events: about our own before they are sent, about others that arrive without its
recommendation. Rooms without one cost a look at their state.

Spec: https://spec.matrix.org/v1.19/server-server-api/#policy-servers
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from tim_server.egress.errors import OutgoingError
from tim_server.federation.client import FederationClient
from tim_server.federation.errors import RemoteError
from tim_server.federation.policy import sign
from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.matrix.errors import Forbidden, LimitExceeded, MatrixError
from tim_server.matrix.events.record import Event
from tim_server.matrix.federation_errors import BadGateway
from tim_server.matrix.identifiers import EventId
from tim_server.matrix.policy_servers import POLICY, PolicyServer, needs_recommendation, policy_server_of
from tim_server.services.rooms.auth_events import ParsedEvents
from tim_server.services.rooms.decide import Decision
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.receipt import Incoming

AT_ONCE = 10
RETRY_AFTER_MS = 1_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyCheck:
    """Asks policy servers."""

    client: FederationClient
    parsed: ParsedEvents

    async def sign_own(self, head: RoomHead, decision: Decision) -> tuple[Decision, Mapping[EventId, MatrixError]]:
        """The decision on events of this server, with the recommendations of the room's policy server; and why it does
        not recommend some of them, which must not be sent."""
        server = await self._server_of(head)
        if server is None or decision.commit is None:
            return decision, {}
        events, refused = await self._ask(server, decision.events)
        new = tuple(
            each if event is before else replace(each, body=encode_relaxed(event.pdu))
            for each, event, before in zip(decision.commit.events, events, decision.events, strict=True)
        )
        return replace(decision, commit=replace(decision.commit, events=new), events=tuple(events)), refused

    async def sign_one(self, head: RoomHead, event: Event) -> Event:
        """An event of this server with the recommendation; raises `Forbidden`, `LimitExceeded` or `BadGateway`."""
        server = await self._server_of(head)
        if server is None:
            return event
        (signed,), refused = await self._ask(server, [event])
        for error in refused.values():
            raise error
        return signed

    async def judge(self, head: RoomHead, incoming: Incoming) -> Incoming:
        """Check 7: the events with the recommendations that they have or get; those without are hidden."""
        server = await self._server_of(head)
        if server is None:
            return incoming
        events, refused = await self._ask(server, incoming.events)
        if refused:
            log.info("a policy server is against events", room_id=head.room_id, events=len(refused))
        return replace(incoming, events=tuple(events), hidden={*incoming.hidden, *refused})

    async def _server_of(self, head: RoomHead) -> PolicyServer | None:
        nid = head.state.get(POLICY)
        if nid is None:
            return None
        event = (await self.parsed.load([nid], head.version))[nid]
        return policy_server_of(event.content, head.joined_servers)

    async def _ask(
        self, server: PolicyServer, events: Sequence[Event]
    ) -> tuple[list[Event], dict[EventId, MatrixError]]:
        """The events, signed as far as the server does it, and why it does not."""
        free = asyncio.Semaphore(AT_ONCE)

        async def ask(event: Event) -> Event | MatrixError:
            if not needs_recommendation(event) or server.has_signed(event):
                return event
            async with free:
                return await self._ask_about(server, event)

        answers = await asyncio.gather(*map(ask, events))
        pairs = list(zip(events, answers, strict=True))
        signed = [event if isinstance(answer, MatrixError) else answer for event, answer in pairs]
        return signed, {event.event_id: answer for event, answer in pairs if isinstance(answer, MatrixError)}

    async def _ask_about(self, server: PolicyServer, event: Event) -> Event | MatrixError:
        if server.server_name == self.client.author.server_name:
            return Forbidden("The room names this server as its policy server, which it is not")
        try:
            signed = server.with_signature(event, await sign(self.client, server.server_name, event))
        except RemoteError as error:
            return _meaning_of(error)
        except OutgoingError:
            return BadGateway("The room's policy server can't be reached")
        return signed if server.has_signed(signed) else BadGateway("The room's policy server signs with another key")


def _meaning_of(error: RemoteError) -> MatrixError:
    """What a client is told: "If the Policy Server returned an error, that error SHOULD be provided to the client"."""
    if error.status == 429:
        return LimitExceeded(retry_after_ms=error.retry_after_ms or RETRY_AFTER_MS)
    if error.status in (400, 403) and error.errcode == Forbidden.errcode:
        return Forbidden(error.message or "The room's policy server is against it")
    return BadGateway("The room's policy server could not help")
