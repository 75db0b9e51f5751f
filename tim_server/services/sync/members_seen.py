"""The members of rooms, remembered for as long as nothing changes them: when somebody joins, everybody who syncs the
room is told the new summary, and one look at the database serves them all.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from tim_server.matrix.room_versions import RoomVersion
from tim_server.services.sync.sources import Sources
from tim_server.services.sync.summaries import RoomMembers, load_room_members
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import Database


@dataclass(slots=True, kw_only=True)
class MembersSeen:
    """What was loaded, by room nid, with the position that it covers; least recently loaded dropped first."""

    database: Database
    sources: Sources
    rooms_max: int = 10_000
    _seen: "OrderedDict[int, tuple[int, asyncio.Task[dict[int, RoomMembers]]]]" = field(default_factory=OrderedDict)

    async def load(self, wanted: Mapping[int, tuple[int, RoomVersion]]) -> dict[int, RoomMembers]:
        """The members of these rooms as they are at this position, or later. The position must be committed."""
        missing = {nid: version for nid, (position, version) in wanted.items() if not self._covers(nid, position)}
        if missing:
            task = asyncio.create_task(self._load(missing), name="room-members")
            task.add_done_callback(self._drop_failed)
            for nid in missing:
                self._seen[nid] = (wanted[nid][0], task)
                self._seen.move_to_end(nid)
        tasks = {nid: self._seen[nid][1] for nid in wanted}
        while len(self._seen) > self.rooms_max:
            self._seen.popitem(last=False)
        return {nid: (await asyncio.shield(task))[nid] for nid, task in tasks.items()}

    def follow(self, entry: CommitEntry) -> None:
        """After a state reset a room's members are not certain."""
        for room_nid in entry.resets:
            self._seen.pop(room_nid, None)

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        self._seen.clear()

    def _covers(self, nid: int, position: int) -> bool:
        seen = self._seen.get(nid)
        return seen is not None and seen[0] >= position

    async def _load(self, versions: Mapping[int, RoomVersion]) -> dict[int, RoomMembers]:
        async with self.database.read() as tx:
            return await load_room_members(tx, self.sources, versions)

    def _drop_failed(self, task: "asyncio.Task[dict[int, RoomMembers]]") -> None:
        if task.cancelled() or task.exception() is not None:
            for nid in [nid for nid, (_, of_room) in self._seen.items() if of_room is task]:
                del self._seen[nid]
