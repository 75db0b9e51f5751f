"""`/events`: what happens, as a list of events; of a user's rooms, or of one room that anybody may look into.

The first is a sync in another form, and made from one. The second reads the room's history and waits for more of it.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3events
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import orjson

from tim_server.matrix.canonical_json import decode_lenient, encode_relaxed
from tim_server.matrix.identifiers import RoomId
from tim_server.services.accounts.requester import Requester
from tim_server.services.rooms.messages import HistoryQuery, RoomHistory
from tim_server.services.rooms.view import view_room
from tim_server.services.sync.older_forms import stream_events
from tim_server.services.sync.own_invites import OwnInvites
from tim_server.services.sync.request import SyncRequest
from tim_server.services.sync.room_watch import RoomWatch, wait_for_any
from tim_server.services.sync.sync import Sync
from tim_server.services.sync.tokens import SyncToken
from tim_server.storage.commit_log import CommitLog


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRequest:
    """Since when (None: from now on), and how long to wait. `stopping` is set when the server stops."""

    since: int | None = None
    timeout_ms: int = 0
    stopping: asyncio.Event | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPage:
    """Events as JSON, and the tokens before and after them."""

    start: str
    end: str
    chunk: list[bytes]


def _token(position: int) -> str:
    return str(SyncToken(position=position))


@dataclass(frozen=True, slots=True, kw_only=True)
class EventStream:
    """Reads it. A room's share of one answer is as long as a timeline of `sync` may be; older events are in its
    history. `catch_up` looks for commits of other processes."""

    sync: Sync
    history: RoomHistory
    invites: OwnInvites
    commit_log: CommitLog
    watch: RoomWatch
    catch_up: Callable[[], Awaitable[None]]

    async def events(self, requester: Requester, request: StreamRequest, room_id: RoomId | None = None) -> StreamPage:
        """What happened in the user's rooms, or in one of them; waits where nothing did."""
        since = await self._since(request)
        wanted: dict[str, object] = {"timeline": {"limit": self.sync.options.timeline_limit_max}}
        if room_id is not None:
            wanted["rooms"] = [room_id]
        asked = SyncRequest(
            since=SyncToken(position=since),
            to_device=False,
            filter=orjson.dumps({"room": wanted}).decode(),
            timeout_ms=request.timeout_ms,
            stopping=request.stopping,
        )
        answer = decode_lenient(await self.sync.sync(requester, asked))
        invites = await self.invites.load(requester, answer.get("rooms", {}).get("invite", ()))
        chunk = [encode_relaxed(event) for event in stream_events(answer, invites)]
        return StreamPage(start=_token(since), end=answer["next_batch"], chunk=chunk)

    async def peek(self, requester: Requester, room_id: RoomId, request: StreamRequest) -> StreamPage:
        """What happened in a room; who is not in it sees what everybody may. Raises `Forbidden` where that is nothing.

        A member gets the room's share of `events`.
        """
        async with self.history.database.read() as tx:
            view = await view_room(tx, self.history.codec, requester.user_id, room_id)
        if view.membership == "join":
            return await self.events(requester, request, room_id)
        since = await self._since(request)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(max(request.timeout_ms, 0), self.sync.options.timeout_ms_max) / 1000
        with self.watch.waiting(view.room_nid) as happened:
            while True:
                happened.clear()
                page = await self._page(requester, room_id, since)
                remaining_s = deadline - loop.time()
                if page.chunk or remaining_s <= 0 or (request.stopping is not None and request.stopping.is_set()):
                    return page
                await wait_for_any(happened, request.stopping, timeout_s=remaining_s)

    async def _page(self, requester: Requester, room_id: RoomId, since: int) -> StreamPage:
        position = max(self.commit_log.position, since)
        limit = self.sync.options.timeline_limit_max
        query = HistoryQuery(backwards=False, limit=limit, start=_token(since), to=_token(position), across_holes=True)
        page = await self.history.page(requester, room_id, query)
        end = _token(position) if page.end is None else page.end
        return StreamPage(start=_token(since), end=end, chunk=page.chunk)

    async def _since(self, request: StreamRequest) -> int:
        await self.catch_up()
        return self.commit_log.position if request.since is None else request.since
