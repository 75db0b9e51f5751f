"""Joining rooms that this server is not in, through servers that are.

Spec: https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from tim_server.egress.errors import OutgoingError
from tim_server.federation.client import FederationClient
from tim_server.federation.errors import RemoteError
from tim_server.federation.joining import JoinAnswerBounds, JoinSending
from tim_server.federation.membership import make_member_event
from tim_server.matrix.errors import MatrixError
from tim_server.matrix.events.build import Author
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, RoomId, ServerName, UserId
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.remote.ask_in_turn import AskingBounds, ask_in_turn
from tim_server.services.rooms.remote.check_join import JoinCheck
from tim_server.services.rooms.remote.enter import RoomEntry
from tim_server.services.rooms.remote.joins_under_way import JoinsUnderWay
from tim_server.services.rooms.remote.key_prefetch import KeyPrefetch
from tim_server.services.rooms.remote.known_rooms import KnownRooms
from tim_server.services.rooms.remote.leave import RemoteLeave
from tim_server.services.rooms.remote.member_template import check_template, member_event
from tim_server.services.rooms.remote.servers_of_room import ServersOfRoom
from tim_server.services.rooms.remote.take_in_state import StateIntake, StateRefused
from tim_server.services.rooms.remote.unverified_members import UnverifiedMembers

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedJoin:
    """Who wants to join which room, with what content of the member event, and the servers that the user named.

    `although_here`: also where this server is in the room, for a restricted join that others must authorise, or where
    the user `is_again` to join who is joined already, so that this server is told of the room anew.
    """

    user_id: UserId
    room_id: RoomId
    content: Mapping[str, Any]
    servers: Sequence[ServerName] = ()
    although_here: bool = False
    is_again: bool = False


@dataclass(slots=True, kw_only=True)
class RemoteJoin:
    """Joins through other servers. Joins of one room follow each other, so that the second finds the room here; a user
    who asks twice shares one join, which is carried out also if they do not wait for it."""

    author: Author
    client: FederationClient
    servers: ServersOfRoom
    known_rooms: KnownRooms
    under_way: JoinsUnderWay
    intake: StateIntake
    check: JoinCheck
    entry: RoomEntry
    leaving: RemoteLeave
    unverified: UnverifiedMembers
    now_ms: Callable[[], int]
    asking: AskingBounds = field(default_factory=AskingBounds)
    answers: JoinAnswerBounds = field(default_factory=JoinAnswerBounds)
    take_back_s: float = 5.0
    _running: "dict[tuple[RoomId, UserId], asyncio.Task[EventId | None]]" = field(default_factory=dict)

    async def join(self, wanted: WantedJoin) -> EventId | None:
        """The join event's id; None where this server has come into the room meanwhile, so that it decides itself.

        Raises `NotFound` where nobody is known to be in the room, `Forbidden` and other errors that the servers in the
        room gave, `BadGateway` where none of them could help, `UnsupportedRoomVersion`, `Unavailable`.
        """
        key = (wanted.room_id, wanted.user_id)
        task = self._running.get(key)
        if task is None:
            before = [task for (room_id, _), task in self._running.items() if room_id == wanted.room_id]
            task = asyncio.create_task(self._follow(before, wanted), name="remote-join")
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End what is going on: it can be begun anew at any time."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _follow(self, before: "Sequence[asyncio.Task[EventId | None]]", wanted: WantedJoin) -> EventId | None:
        if before:
            await asyncio.wait(before)
        await self.under_way.check_open(wanted.room_id)
        if not wanted.although_here and await self.servers.is_here(wanted.room_id):
            return None
        servers = await self.servers.to_ask(wanted.room_id, wanted.user_id, wanted.servers)
        _, event_id = await ask_in_turn(servers, partial(self._join_through, wanted), self.asking)
        return event_id

    async def _join_through(self, wanted: WantedJoin, server: ServerName) -> EventId:
        template = await make_member_event(self.client, server, "join", wanted.room_id, wanted.user_id)
        checked = check_template(template, server, wanted.room_id, wanted.user_id, "join")
        (number,) = await self.known_rooms.store.writer.take_nids(1)
        now_ms = self.now_ms()
        event = member_event(
            checked, wanted.user_id, wanted.content, author=self.author, now_ms=now_ms, unique=f"{number}.{now_ms}"
        )
        head = await self.known_rooms.know(event.room_id, event.room_version)
        await self.under_way.begin(head.room_id, head.nid)
        try:
            event_id = await self._send(wanted, server, event, head)
        except (RemoteError, OutgoingError, MatrixError) as error:
            if not wanted.is_again and (not isinstance(error, RemoteError) or error.status == 200):
                await self._take_back(server, event)
            raise
        await self.under_way.succeeded(head.nid)
        return event_id

    async def _send(self, wanted: WantedJoin, server: ServerName, event: Event, head: RoomHead) -> EventId:
        """Have the server let the user in, and enter the room with what it answers."""
        keys = KeyPrefetch(keys=self.check.check.keys, version=event.room_version)
        sending = JoinSending(client=self.client, bounds=self.answers, note=keys.note)
        answer = await sending.send(server, event)
        await keys.fetch()
        try:
            event = await self.check.with_signature(event, answer.event)
            taken_in = await self.intake.take_in(head, answer.state, answer.auth_chain)
            await self.check.check_allowed(head, event, taken_in.state)
        except StateRefused as error:
            raise RemoteError.malformed(server, str(error)) from None
        # Until the state is completed nothing that is noted may be lost; of a room that is new here nothing is yet.
        note = partial(self.unverified.note, head, taken_in.unverified, is_again=wanted.is_again)
        if not wanted.is_again:
            await note()
        event_id = await self.entry.enter(event, taken_in.state)
        if wanted.is_again:
            await note()
        return event_id

    async def _take_back(self, server: ServerName, event: Event) -> None:
        """The server has taken the user in, but its answer is of no use: so that nobody there takes them for a member,
        the user leaves again, before another server is asked. The user waits for it: not for long. Raises nothing."""
        try:
            async with asyncio.timeout(self.take_back_s):
                await self.leaving.leave_through(server, event.sender, event.room_id, {"membership": "leave"})
        except (RemoteError, OutgoingError, TimeoutError) as error:
            log.info("a join could not be taken back", room_id=event.room_id, server=server, error=type(error).__name__)
