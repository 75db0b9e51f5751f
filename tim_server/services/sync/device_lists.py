"""Whose device lists the client should fetch again, and whose it may forget.

The tail says whose devices have changed, and who came and went; one look at the database tells everybody whether
somebody who said something new of themselves in a room has also come or gone, and where they still are. Of the reader's
own changes the database knows.

Spec: https://spec.matrix.org/v1.19/client-server-api/#tracking-the-device-list-for-a-user
"""

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.open_session import DEVICES
from tim_server.services.keys.changes import load_device_list_changes
from tim_server.services.shared_look_ups import SharedLookUps
from tim_server.services.sync.parts import NOTHING, Told
from tim_server.services.sync.request import Reading
from tim_server.services.sync.views import MEMBER
from tim_server.services.sync.window import Window
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import Connection, Database
from tim_server.storage.device_lists import DEVICE_LISTS, find_changed_for_reader
from tim_server.storage.shared_rooms import MemberStep, Move


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceListsPart:
    """Part of an answer. `moves` knows what member events have meant, which never changes; `rooms` which rooms users
    are in, until that changes."""

    database: Database
    moves: SharedLookUps[MemberStep, Move]
    rooms: SharedLookUps[UserId, frozenset[int]]

    async def from_tail(self, reading: Reading, window: Window) -> Told | None:
        """What the facts and member events of the reader's rooms say. The database is not asked for these: it may know
        of what came after the window."""
        changed = await self._changed_for_reader(window) if DEVICES in window.streams else set()
        facts = window.facts_of(DEVICE_LISTS).values()
        changed |= {UserId(str(fact.value[0])) for of_room in facts for fact in of_room}
        steps = window.member_steps
        moves = await self.moves.load(steps) if steps else {}
        changed |= {step.user_id for step, move in moves.items() if move is Move.IN}
        gone = {step.user_id for step, move in moves.items() if move is Move.OUT}
        left = set()
        if gone:
            rooms = await self.rooms.load(gone)
            left = {user_id for user_id in gone if rooms[user_id].isdisjoint(window.view.rooms)}
        return _told(changed - left, left)

    async def _changed_for_reader(self, window: Window) -> set[UserId]:
        async with self.database.connection() as connection:
            reader = window.view.user_id
            return await find_changed_for_reader(connection, reader, after=window.since, up_to=window.up_to)

    async def from_database(self, tx: Connection, reading: Reading, up_to: int) -> Told:
        """What has changed since the token; a first answer says nothing."""
        if reading.since is None:
            return NOTHING
        changes = await load_device_list_changes(tx, reading.user_id, after=reading.since, up_to=up_to)
        return _told(changes.changed, changes.left)

    def follow(self, entry: CommitEntry) -> None:
        """These users' rooms may have changed."""
        rows = (row for of_room in entry.events.values() for row in of_room)
        self.rooms.drop(UserId(row.state_key) for row in rows if row.type == MEMBER and row.state_key is not None)
        if entry.resets:
            self.clear()

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        self.moves.clear()
        self.rooms.clear()


def _told(changed: Iterable[UserId], left: Iterable[UserId]) -> Told:
    lists = {"changed": sorted(map(str, changed)), "left": sorted(map(str, left))}
    if not lists["changed"] and not lists["left"]:
        return NOTHING
    return Told(members=(b'"device_lists":' + orjson.dumps(lists),), is_news=True)
