"""Which guests a room lets in, and that those whom it no longer lets in leave.

Spec: https://spec.matrix.org/v1.19/client-server-api/#guest-access
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.errors import Forbidden, MatrixError
from tim_server.matrix.room_versions import room_version
from tim_server.services.events.client_format import content_json
from tim_server.services.rooms.draft import Draft, DraftGroup
from tim_server.services.rooms.member_content import MEMBER, member_content, membership_in
from tim_server.services.rooms.queue import RoomQueues
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import Connection, Database
from tim_server.storage.events import load_events
from tim_server.storage.memberships import GuestInRoom, load_joined_guests
from tim_server.storage.state import load_current_state_of_keys

GUEST_ACCESS = "m.room.guest_access"
_MAY_CHANGE_IT = frozenset({GUEST_ACCESS, "m.room.redaction"})

log = structlog.get_logger(__name__)


async def rooms_open_to_guests(tx: Connection, codec: Codec, versions: Mapping[int, str]) -> set[int]:
    """Those of the rooms (version by nid) whose guest access is `can_join` now."""
    nids = await load_current_state_of_keys(tx, [(room_nid, GUEST_ACCESS, "") for room_nid in versions])
    rows = await load_events(tx, codec, nids.values())
    contents = {
        row.room_nid: decode_lenient(content_json(row, room_version(versions[row.room_nid]))) for row in rows.values()
    }
    return {room_nid for room_nid, content in contents.items() if content.get("guest_access") == "can_join"}


@dataclass(slots=True, kw_only=True)
class GuestRemoval:
    """Looks after rooms in which guest access may have changed; at first after all, for what a process that died left
    undone. Several processes may do the same: who has left stays so."""

    database: Database
    codec: Codec
    queues: RoomQueues
    _rooms: "set[int] | None" = field(default=None)

    def follow(self, entry: CommitEntry) -> None:
        """Note the rooms of a commit in which guest access may have changed."""
        if self._rooms is None:
            return
        self._rooms |= entry.resets
        for room_nid, rows in entry.events.items():
            if any(row.type in _MAY_CHANGE_IT for row in rows):
                self._rooms.add(room_nid)

    def forget(self) -> None:
        """Look after all rooms once more, as after a restore."""
        self._rooms = None

    async def sweep(self) -> None:
        """Have the guests leave whom their room no longer lets in."""
        rooms, self._rooms = self._rooms, set()
        if rooms is not None and not rooms:
            return
        try:
            await self._remove(await self._find(rooms))
        except BaseException:
            self.forget()
            raise

    async def _find(self, rooms: Iterable[int] | None) -> Sequence[GuestInRoom]:
        async with self.database.read() as tx:
            guests = await load_joined_guests(tx, None if rooms is None else sorted(rooms))
            versions = {guest.room_nid: guest.room_version for guest in guests}
            open_rooms = await rooms_open_to_guests(tx, self.codec, versions)
        return [guest for guest in guests if guest.room_nid not in open_rooms]

    async def _remove(self, guests: Iterable[GuestInRoom]) -> None:
        for guest in guests:
            content = member_content("leave", names={})
            draft = Draft(type=MEMBER, state_key=guest.user_id, sender=guest.user_id, content=content)
            try:
                await self.queues.submit(guest.room_id, DraftGroup(drafts=(draft,), require=_require_joined))
            except MatrixError as error:
                log.info("a guest could not leave", room_id=guest.room_id, errcode=error.errcode)


def _require_joined(present: Mapping[str, Any] | None) -> None:
    if membership_in(present) != "join":
        raise Forbidden("The guest has left the room")
