"""`/initialSync` of a user or of a room: a first sync in the form that came before it.

Of a room that the user is not in, history and state are read as the user may see them.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3initialsync
https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidinitialsync
"""

from dataclasses import dataclass
from typing import Any

import orjson

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.identifiers import RoomId
from tim_server.services.accounts.requester import Requester
from tim_server.services.events.tokens import START, token_of
from tim_server.services.rooms.messages import HistoryQuery, RoomHistory
from tim_server.services.rooms.state import RoomState
from tim_server.services.rooms.view import view_room
from tim_server.services.sync.older_forms import (
    joined_members,
    presence_events,
    receipts_of,
    rooms_of,
)
from tim_server.services.sync.own_invites import OwnInvites
from tim_server.services.sync.request import STATE_AFTER, SyncRequest
from tim_server.services.sync.sync import Sync
from tim_server.storage.account_data import read_room_account_data
from tim_server.storage.database import Database
from tim_server.storage.room_directory import find_published

LIMIT_DEFAULT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialSync:
    """Reads it."""

    database: Database
    sync: Sync
    invites: OwnInvites
    history: RoomHistory
    state: RoomState

    async def whole(self, requester: Requester, *, limit: int, archived: bool) -> dict[str, Any]:
        """All rooms with at most `limit` messages of each, presence, receipts and account data; with `archived` also
        the rooms that the user has left."""
        answer = await self._first(requester, {"timeline": {"limit": limit}, "include_leave": archived})
        return {
            "end": answer["next_batch"],
            "rooms": await self._rooms(requester, answer),
            "presence": presence_events(answer),
            "receipts": receipts_of(answer),
            "account_data": answer.get("account_data", {}).get("events", []),
        }

    async def of_room(self, requester: Requester, room_id: RoomId, *, limit: int) -> dict[str, Any]:
        """One room: as it is for members and where everybody may look, else as it was when the user left. Raises
        `Forbidden` for who may not see it."""
        async with self.database.read() as tx:
            view = await view_room(tx, self.history.codec, requester.user_id, room_id)
        if view.membership == "join":
            answer = await self._first(requester, {"timeline": {"limit": limit}, "rooms": [room_id]})
            for room in await self._rooms(requester, answer):
                members = joined_members(room["state"])
                presence = [event for event in presence_events(answer) if event["sender"] in members]
                return {**room, "presence": presence, "receipts": receipts_of(answer)}
        return await self._of_room_from_outside(requester, room_id, view.membership, limit)

    async def _of_room_from_outside(
        self, requester: Requester, room_id: RoomId, membership: str, limit: int
    ) -> dict[str, Any]:
        page = await self.history.page(requester, room_id, HistoryQuery(backwards=True, limit=limit))
        state = await self.state.all_events(requester, room_id)
        async with self.database.read() as tx:
            account_data = await read_room_account_data(tx, self.history.codec, requester.user_id, room_id)
            published = await find_published(tx, [room_id])
        return {
            "room_id": room_id,
            "membership": membership,
            "messages": {
                "start": token_of(START) if page.end is None else page.end,
                "end": page.start,
                "chunk": [decode_lenient(event) for event in reversed(page.chunk)][max(len(page.chunk) - limit, 0) :],
            },
            "state": [decode_lenient(event) for event in state],
            "account_data": [{"type": each.type, "content": decode_lenient(each.content)} for each in account_data],
            "visibility": "public" if published else "private",
            "presence": [],
            "receipts": [],
        }

    async def _first(self, requester: Requester, wanted: dict[str, object]) -> dict[str, Any]:
        # Account data is here what the user has set; push rules have endpoints of their own.
        definition = {"room": wanted, "account_data": {"not_types": ["m.push_rules"]}}
        asked = SyncRequest(filter=orjson.dumps(definition).decode(), state_after=(STATE_AFTER,), to_device=False)
        answer: dict[str, Any] = decode_lenient(await self.sync.sync(requester, asked))
        return answer

    async def _rooms(self, requester: Requester, answer: dict[str, Any]) -> list[dict[str, Any]]:
        sections = answer.get("rooms", {})
        invites = await self.invites.load(requester, sections.get("invite", ()))
        async with self.database.read() as tx:
            published = await find_published(tx, [room_id for section in sections.values() for room_id in section])
        return rooms_of(answer, invites, published)
