"""Inviting users: those of other servers only once their server has signed the invite.

Spec: https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import structlog

from tim_server.egress.errors import ContactRefused, OutgoingError
from tim_server.federation.client import FederationClient
from tim_server.federation.errors import RemoteError
from tim_server.federation.inviting import send_invite
from tim_server.federation.keys import KeyRing
from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.matrix.errors import (
    BadSignature,
    Forbidden,
    InviteBlocked,
    LimitExceeded,
    MatrixError,
    NotFound,
    Unavailable,
    UnsupportedRoomVersion,
)
from tim_server.matrix.events.read import read_stored_pdu
from tim_server.matrix.events.record import Event
from tim_server.matrix.events.signatures import verify_event_signature
from tim_server.matrix.federation_errors import BadGateway
from tim_server.matrix.identifiers import EventId, RoomId, ServerName, UserId
from tim_server.services.rooms.decide import Decision, membership_of
from tim_server.services.rooms.draft import DraftGroup
from tim_server.services.rooms.member_content import MEMBER
from tim_server.services.rooms.queue import RoomQueues
from tim_server.services.rooms.receive import Incoming
from tim_server.services.rooms.relay import NotTakenIn
from tim_server.services.rooms.resident.tell_state import StateTelling, told_of_new_room
from tim_server.services.trust.gate import ChokePoint, TrustGate

CREATE = ("m.room.create", "")
ATTEMPTS_MAX = 3
ASKED_AT_ONCE = 10
KEYS_TRIED_MAX = 10

log = structlog.get_logger(__name__)


class InviteRefused(Forbidden):
    """M_FORBIDDEN: another server does not let its user be invited."""

    default_message = "The user's server refuses the invite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invites:
    """Sends invites of users of any server."""

    server_name: ServerName
    queues: RoomQueues
    client: FederationClient
    keys: KeyRing
    gate: TrustGate
    telling: StateTelling

    async def check_servers(self, users: Collection[UserId]) -> None:
        """Raise `Forbidden` where the trust gate does not let us invite one of these users."""
        await self.gate.require(ChokePoint.MEMBERSHIP, {user_id.server_name for user_id in users})

    async def submit(self, room_id: RoomId, group: DraftGroup) -> EventId:
        """Send the invite that is the group's only draft; its id, or that of the event in place.

        Of a user of another server raises, beside what the room's queue raises, `InviteRefused`, `InviteBlocked`,
        `NotFound`, `UnsupportedRoomVersion`, `LimitExceeded` or `BadGateway` for what that server makes of it.
        """
        invitee = UserId(group.drafts[0].state_key or "")
        await self.check_servers([invitee])
        if invitee.server_name == self.server_name:
            (event_id,) = await self.queues.submit(room_id, group)
            return event_id
        for _ in range(ATTEMPTS_MAX):
            proposed = await self.queues.propose(room_id, group)
            if not isinstance(proposed, Event):
                return proposed
            await self._check_federates(room_id)
            signed = await self._have_signed(proposed, await self._told(proposed))
            # Meanwhile the room may have changed: the event stands where it was made, like one that arrives.
            with suppress(NotTakenIn):
                accepted = await self.queues.submit(room_id, Incoming(events=(signed,), is_relayed=True))
                if signed.event_id in accepted:
                    return signed.event_id
        raise Unavailable("The room is changing too quickly; try again")

    async def sign_new_room(self, decision: Decision) -> Decision:
        """The decision on a new room, with the invites in it signed by the servers of those invited. Raises what
        `submit` raises, where one of them refuses: then there is no room."""
        commit = decision.commit
        assert commit is not None
        if any(map(self._is_remote_invite, decision.events)):
            _check_federates(decision.events[0])
        told = told_of_new_room(decision.events)
        at_once = asyncio.Semaphore(ASKED_AT_ONCE)

        async def sign(event: Event) -> Event:
            if not self._is_remote_invite(event):
                return event
            async with at_once:
                return await self._have_signed(event, told)

        outcomes = await asyncio.gather(*map(sign, decision.events), return_exceptions=True)
        events = [outcome for outcome in outcomes if isinstance(outcome, Event)]
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        bodies = [
            replace(new, body=encode_relaxed(event.pdu)) if self._is_remote_invite(event) else new
            for new, event in zip(commit.events, events, strict=True)
        ]
        return replace(decision, events=tuple(events), commit=replace(commit, events=tuple(bodies)))

    def _is_remote_invite(self, event: Event) -> bool:
        if event.type != MEMBER or membership_of(event) != "invite":
            return False
        return UserId(event.state_key or "").server_name != self.server_name

    async def _check_federates(self, room_id: RoomId) -> None:
        head = await self.queues.heads.get(room_id)
        nid = None if head is None else head.state.get(CREATE)
        if head is not None and nid is not None:
            _check_federates((await self.queues.parsed.load([nid], head.version))[nid])

    async def _told(self, invite: Event) -> Sequence[Mapping[str, Any]]:
        head = await self.queues.heads.get(invite.room_id)
        return [] if head is None else await self.telling.tell(head, invite.sender)

    async def _have_signed(self, invite: Event, told: Sequence[Mapping[str, Any]]) -> Event:
        """The invite with the signature of the invited user's server, and nothing else of what it answers."""
        server = UserId(invite.state_key or "").server_name
        try:
            answer = await send_invite(self.client, server, invite, told)
        except (RemoteError, OutgoingError) as error:
            log.info("another server did not sign an invite", server=server, error=type(error).__name__)
            raise _meaning_of(error) from error
        signature = await self._signature(invite, answer, server)
        if signature is None:
            raise BadGateway("The server of the invited user did not sign the invite")
        signatures = {**invite.pdu["signatures"], str(server): signature}
        return read_stored_pdu({**invite.pdu, "signatures": signatures}, invite.room_version, invite.event_id)

    async def _signature(self, invite: Event, answer: Mapping[str, Any], server: ServerName) -> dict[str, str] | None:
        """A signature of the server over the invite, by key id; None where none verifies."""
        signatures = answer.get("signatures")
        of_server = signatures.get(server) if isinstance(signatures, dict) else None
        if not isinstance(of_server, dict):
            return None
        key_ids = [*of_server][:KEYS_TRIED_MAX]
        keys = await self.keys.keys_of(server, key_ids, valid_at_ms=self.queues.now_ms())
        for key_id, key in keys.items():
            pdu = {**invite.pdu, "signatures": {server: of_server}}
            try:
                verify_event_signature(pdu, invite.room_version, server, key_id, key)
            except BadSignature:
                continue
            return {key_id: of_server[key_id]}
        return None


def _check_federates(create: Event) -> None:
    """The authorisation rules keep users of other servers from joining, not from being invited and told of the room."""
    if create.content.get("m.federate") is False:
        raise Forbidden("The room does not federate")


def _meaning_of(error: RemoteError | OutgoingError) -> MatrixError:
    """What a client is told of the other server's error."""
    if isinstance(error, ContactRefused):
        return InviteRefused("The user's server is not part of the federation of this server")
    if not isinstance(error, RemoteError):
        return BadGateway("The user's server could not be reached")
    if error.errcode in ("M_INCOMPATIBLE_ROOM_VERSION", "M_UNSUPPORTED_ROOM_VERSION"):
        return UnsupportedRoomVersion("The user's server does not support the version of the room")
    if error.status == 403:
        return InviteBlocked() if error.errcode == InviteBlocked.errcode else InviteRefused()
    if error.status == 404:
        return NotFound("The user's server does not know the user")
    if error.status == 429:
        return LimitExceeded("The user's server takes no more invites now")
    return BadGateway("The user's server did not take the invite")
