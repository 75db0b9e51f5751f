"""List the threads of a room.

Spec: https://spec.matrix.org/v1.19/client-server-api/#querying-threads-in-a-room
"""

from collections.abc import Collection
from dataclasses import dataclass

import msgspec

from tim_server.matrix.identifiers import RoomId
from tim_server.services.account_data.ignored import load_ignored_users
from tim_server.services.accounts.requester import Requester
from tim_server.services.events.client_events import ClientEvents
from tim_server.services.events.tokens import place_of, token_of
from tim_server.services.rooms.view import reader_of, view_room
from tim_server.storage.commit_log import read_newest_position
from tim_server.storage.database import Database
from tim_server.storage.events import EventRow, load_events
from tim_server.storage.related_pages import ThreadsWanted, load_threads

_REDACTED_FOR_THE_READER = 0
"""The nid of no event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadsQuery:
    """Which page: after a token, at most `limit` threads; all, or those that the user took part in."""

    limit: int = 20
    start: str | None = None
    participated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadsPage:
    """Roots of threads as client events; `next_batch` None: there are no more."""

    chunk: list[bytes]
    next_batch: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomThreads:
    """Reads pages of threads; `limit_max` bounds a page."""

    database: Database
    client_events: ClientEvents
    limit_max: int = 1_000

    async def page(self, requester: Requester, room_id: RoomId, query: ThreadsQuery) -> ThreadsPage:
        """The threads whose root the user may see, those with the newest events first; raises `Forbidden` for who was
        never joined, and `InvalidParam`."""
        limit, codec = min(query.limit, self.limit_max), self.client_events.codec
        async with self.database.read() as tx:
            view = await view_room(tx, codec, requester.user_id, room_id)
            newest = await read_newest_position(tx) if view.left is None else view.left.position
            wanted = ThreadsWanted(
                room_nid=view.room_nid,
                reader=requester.user_id,
                newest=(newest, 0),
                until=(newest, 0) if query.start is None else place_of(query.start),
                participated=query.participated,
            )
            ignored = await load_ignored_users(tx, codec, requester.user_id)
            found = await load_threads(tx, wanted, ignored=ignored, limit=limit + 1)
            rows = await load_events(tx, codec, [thread.nid for thread in found[:limit]])
            roots = await self.client_events.visibility.visible(
                tx, requester.user_id, [rows[thread.nid] for thread in found[:limit]], view.histories
            )
            roots = [_as_told(row, ignored) for row in roots]
            surroundings = await self.client_events.load_surroundings(
                tx, reader_of(requester), roots, view.histories, parents=roots
            )
        position, minor = found[limit - 1].place if len(found) > limit else (0, 0)
        return ThreadsPage(
            chunk=[self.client_events.event(row, view.version, surroundings, room_id=room_id) for row in roots],
            next_batch=token_of((position, minor - 1)) if len(found) > limit else None,
        )


def _as_told(root: EventRow, ignored: Collection[str]) -> EventRow:
    """The root; redacted for this reader where they ignore its sender, but not what else was said in the thread."""
    if root.sender not in ignored or root.redacted_by is not None:
        return root
    return msgspec.structs.replace(root, redacted_by=_REDACTED_FOR_THE_READER)
