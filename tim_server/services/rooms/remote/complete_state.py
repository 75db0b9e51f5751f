"""Completing the state of rooms that were joined while servers in them could not be asked for their keys.

What can't be verified does not count: such a server's members are missing here, so that it is told nothing and what it
says is refused. Once its keys can be had, one of our users in the room joins again, which changes nothing there. With
that this server is told the state anew, takes in what it could not verify, and all that comes stands on it.

Spec: https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from tim_server.egress.errors import ContactRefused
from tim_server.federation.keys import KeyRing
from tim_server.matrix.errors import MatrixError
from tim_server.matrix.identifiers import RoomId, ServerName
from tim_server.services.rooms.auth_events import ParsedEvents
from tim_server.services.rooms.head import RoomHeads
from tim_server.services.rooms.member_content import AUTHORISED_VIA, MEMBER, membership_in
from tim_server.services.rooms.remote.join import RemoteJoin, WantedJoin
from tim_server.storage.election import Tenure
from tim_server.storage.memberships import find_any_joined
from tim_server.storage.store import Store
from tim_server.storage.unverified_servers import Unverified, delete_unverified, load_due, postpone

DUE_MAX = 100
ATTEMPTS_MAX = 12

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionOptions:
    """How often one looks what is due, and the pause after an attempt in vain: four times as long with each further
    one, and at most."""

    look_interval_s: float = 5.0
    pause_s: float = 30.0
    pause_s_max: float = 86_400.0


@dataclass(slots=True, kw_only=True)
class StateCompletion:
    """`run` in one process; each does what the next would do over."""

    server_name: ServerName
    store: Store
    keys: KeyRing
    heads: RoomHeads
    parsed: ParsedEvents
    joining: RemoteJoin
    now_ms: Callable[[], int]
    options: CompletionOptions = field(default_factory=CompletionOptions)

    async def run(self, _tenure: Tenure) -> None:
        """Complete what is due until cancelled."""
        while True:
            await self.complete_due()
            await asyncio.sleep(self.options.look_interval_s)

    async def complete_due(self) -> None:
        """One attempt at everything that is due."""
        async with self.store.database.connection() as connection:
            due = await load_due(connection, self.now_ms(), limit=DUE_MAX)
        if not due:
            return
        servers = list({each.server_name for each in due})
        found = dict(zip(servers, await asyncio.gather(*map(self._has_keys, servers)), strict=True))
        await self._put_off([each for each in due if found[each.server_name] is False])
        await self._give_up([each for each in due if found[each.server_name] is None])
        rooms: dict[RoomId, list[Unverified]] = {}
        for each in due:
            if found[each.server_name]:
                rooms.setdefault(each.room_id, []).append(each)
        for verifiable in rooms.values():
            await self._complete(verifiable)

    async def _has_keys(self, server: ServerName) -> bool | None:
        """Whether keys of the server are known, or can be had now; None where the trust gate refuses it."""
        try:
            return await self.keys.has_any_of(server)
        except ContactRefused:
            return None

    async def _complete(self, verifiable: Sequence[Unverified]) -> None:
        """Complete the state of a room with members of these servers. One that can't be keeps no other waiting."""
        try:
            is_completed = await self._is_completed(verifiable[0].room_nid, verifiable[0].room_id)
        except Exception:
            await self._put_off(verifiable)
            raise
        if not is_completed:
            await self._put_off(verifiable)

    async def _is_completed(self, room_nid: int, room_id: RoomId) -> bool:
        """Have one of our users join again, unless nobody is in the room; how that went. What is noted of the room is
        set by the join."""
        async with self.store.database.connection() as connection:
            user_id = await find_any_joined(connection, room_nid, self.server_name, besides=())
        head = await self.heads.get(room_id)
        nid = None if head is None or user_id is None else head.state.get((MEMBER, user_id))
        if head is None or user_id is None or nid is None:
            return False
        content = (await self.parsed.load([nid], head.version))[nid].content
        if membership_in(content) != "join":  # who has left just now stays out
            return False
        kept = {key: value for key, value in content.items() if key != AUTHORISED_VIA}
        try:
            await self.joining.join(
                WantedJoin(user_id=user_id, room_id=room_id, content=kept, although_here=True, is_again=True)
            )
        except MatrixError as error:
            log.info("the state of a room could not be completed", room_id=room_id, errcode=error.errcode)
            return False
        log.info("the state of a room was completed", room_id=room_id)
        return True

    async def _put_off(self, some: Sequence[Unverified]) -> None:
        if not some:
            return
        now_ms, options = self.now_ms(), self.options
        await self._give_up([each for each in some if each.attempts + 1 >= ATTEMPTS_MAX])
        pauses_s = ((each, min(options.pause_s * 4**each.attempts, options.pause_s_max)) for each in some)
        async with self.store.database.transaction() as tx:
            await postpone(tx, [(each, now_ms + int(pause_s * 1000)) for each, pause_s in pauses_s])

    async def _give_up(self, some: Sequence[Unverified]) -> None:
        if not some:
            return
        async with self.store.database.transaction() as tx:
            await delete_unverified(tx, some)
