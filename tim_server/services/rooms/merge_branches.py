"""Bringing branches of a room together: where many servers go on from different events, and nobody here says anything
that would name them all, the room gets an event for that alone. Else each event that arrives costs more, as the state
of all branches has to be resolved.

The event is of the type that Synapse uses for it, which clients are not shown there either.
"""

import asyncio
import random
from dataclasses import dataclass, field

import structlog

from tim_server.matrix.errors import MatrixError
from tim_server.matrix.event_auth.power_levels import PowerLevels
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.rooms.decide import membership_of
from tim_server.services.rooms.draft import Draft, DraftGroup
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.member_content import MEMBER
from tim_server.services.rooms.queue import RoomQueues

DUMMY = "org.matrix.dummy_event"
CREATE = ("m.room.create", "")
POWER_LEVELS = ("m.room.power_levels", "")
BRANCHES_MAX = 10
MEMBERS_MAX = 20
EVENTS_MAX = 20
PAUSE_S = 5.0

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class BranchMerge:
    """Merges branches, a moment after there have become too many: other servers do the same, and one is enough."""

    server_name: ServerName
    queues: RoomQueues
    pause_s: float = PAUSE_S
    _running: "dict[int, asyncio.Task[None]]" = field(default_factory=dict)

    def look(self, head: RoomHead) -> None:
        """Look after a room whose head has moved."""
        if len(head.extremities) > BRANCHES_MAX and head.nid not in self._running:
            task = self._running[head.nid] = asyncio.create_task(self._merge(head), name="merge-branches")
            task.add_done_callback(lambda _: self._running.pop(head.nid))

    async def close(self) -> None:
        """End what was begun."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _merge(self, head: RoomHead) -> None:
        await asyncio.sleep(self.pause_s * random.uniform(0.2, 1.0))
        for _ in range(EVENTS_MAX):  # each names as many branches as an event may
            found = await self.queues.heads.get(head.room_id)
            if found is None or len(found.extremities) <= BRANCHES_MAX:
                return
            sender = await self._sender(found)
            if sender is None:
                return
            draft = Draft(type=DUMMY, sender=sender, content={}, is_hidden=True)
            try:
                await self.queues.submit(head.room_id, DraftGroup(drafts=(draft,)))
            except MatrixError as error:
                log.info("branches could not be merged", room_id=head.room_id, errcode=error.errcode)
                return

    async def _sender(self, head: RoomHead) -> UserId | None:
        """A user of this server who is in the room and may send the event."""
        nids = {key: head.state[key] for key in (POWER_LEVELS, CREATE) if key in head.state}
        own = [key for key in head.state if key[0] == MEMBER and UserId(key[1]).server_name == self.server_name]
        events = await self.queues.parsed.load(nids.values(), head.version)
        levels = {key: events[nid] for key, nid in nids.items()}
        power = PowerLevels.of(levels.get(POWER_LEVELS), levels.get(CREATE))
        needed = power.event_level(DUMMY, is_state=False)
        able = [key for key in own if power.user_level(UserId(key[1])) >= needed][:MEMBERS_MAX]
        members = await self.queues.parsed.load([head.state[key] for key in able], head.version)
        joined = (key[1] for key in able if membership_of(members[head.state[key]]) == "join")
        return next(map(UserId, joined), None)
