"""The rooms of which a server is told who types and who has read what: not those whose access control list denies it.

Spec: https://spec.matrix.org/v1.19/client-server-api/#server-access-control-lists-acls-for-rooms
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.identifiers import RoomId, ServerName
from tim_server.matrix.server_acls import SERVER_ACL, is_allowed_by_acl
from tim_server.services.shared_look_ups import SharedLookUps
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import Connection
from tim_server.storage.events import load_events
from tim_server.storage.room_servers import AccessList, load_access_lists
from tim_server.storage.store import Store

_ListAndServer = tuple[int, ServerName]


@dataclass(slots=True, kw_only=True)
class RoomsToTell:
    """Remembers lists by room, and what they say of servers. What they say is never dropped: an event does not change.
    Follows the commit log."""

    store: Store
    _lists: SharedLookUps[int, AccessList] = field(init=False)
    _allowed: SharedLookUps[_ListAndServer, bool] = field(init=False)

    def __post_init__(self) -> None:
        """Nothing is known yet."""
        self._lists = SharedLookUps(database=self.store.database, read=load_access_lists)
        self._allowed = SharedLookUps(database=self.store.database, read=self._read_allowed)

    async def of(self, server: ServerName, room_nids: Collection[int]) -> dict[int, RoomId]:
        """The ids of those of the rooms that the server is told of, by nid; mostly from memory."""
        lists = await self._lists.load(room_nids)
        return _told(server, lists, await self._allowed.load(_asked(server, lists)))

    async def read(self, tx: Connection, server: ServerName, room_nids: Collection[int]) -> dict[int, RoomId]:
        """As `of`, for who holds a connection and so must not wait for another."""
        lists = await load_access_lists(tx, room_nids)
        return _told(server, lists, await self._read_allowed(tx, _asked(server, lists)))

    def follow(self, entry: CommitEntry) -> None:
        """Look anew at rooms that may have another list now."""
        changed = set(entry.resets)
        for room_nid, rows in entry.events.items():
            if any((row.type, row.state_key) == SERVER_ACL for row in rows):
                changed.add(room_nid)
        self._lists.drop(changed)

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        self._lists.clear()
        self._allowed.clear()

    async def _read_allowed(self, tx: Connection, keys: Collection[_ListAndServer]) -> Mapping[_ListAndServer, bool]:
        if not keys:
            return {}
        rows = await load_events(tx, self.store.codec, {event_nid for event_nid, _ in keys})
        contents = {nid: decode_lenient(row.body).get("content") for nid, row in rows.items()}
        return {(nid, server): is_allowed_by_acl(_as_object(contents.get(nid)), server) for nid, server in keys}


def _asked(server: ServerName, lists: Mapping[int, AccessList]) -> set[_ListAndServer]:
    return {(each.event_nid, server) for each in lists.values() if each.event_nid is not None}


def _told(
    server: ServerName, lists: Mapping[int, AccessList], allowed: Mapping[_ListAndServer, bool]
) -> dict[int, RoomId]:
    return {
        room_nid: each.room_id
        for room_nid, each in lists.items()
        if each.event_nid is None or allowed[each.event_nid, server]
    }


def _as_object(content: object) -> Mapping[str, object]:
    """The content; what is no object allows nobody."""
    return content if isinstance(content, dict) else {}
