"""Where reading history must stop: at holes, which hold what this server has not fetched."""

from dataclasses import dataclass, replace

from tim_server.services.events.tokens import START
from tim_server.storage.database import Connection
from tim_server.storage.holes import HoleRow, find_newest_hole, find_oldest_hole
from tim_server.storage.timeline import Place, TimelineRange, find_newest_place, find_oldest_place

FAILURES_MAX = 8
"""A hole that could not be filled so many times bars nobody any longer from what lies behind, but for whoever comes to
it first when it may be tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRange:
    """The part of a range that may be read, and the hole at its end, if one is there."""

    within: TimelineRange
    hole: HoleRow | None

    @property
    def end(self) -> Place | None:
        """The gap at which reading ends because of the hole."""
        if self.hole is None:
            return None
        return self.within.after if self.within.newest_first else max(self.within.after, self.within.until)

    @property
    def is_empty(self) -> bool:
        """Whether reading begins at the hole."""
        return self.hole is not None and self.within.after >= self.within.until


async def stop_at_hole(tx: Connection, within: TimelineRange) -> OpenRange:
    """What of the range lies before the first hole in its direction.

    Who reads forward from the beginning of the room begins with the oldest event that is here: nothing that they have
    read comes before a hole there.
    """
    room_nid, after, until = within.room_nid, within.after, within.until
    if within.newest_first:
        hole = await find_newest_hole(tx, room_nid, after=after, until=until, failures_max=FAILURES_MAX)
        return OpenRange(within=within if hole is None else replace(within, after=hole.gap), hole=hole)
    if after == START:
        after = await find_oldest_place(tx, room_nid) or START
    hole = await find_oldest_hole(tx, room_nid, after=after, until=until, failures_max=FAILURES_MAX)
    if hole is None:
        return OpenRange(within=within, hole=None)
    begins_at = await find_newest_place(tx, room_nid, hole.gap) or after
    return OpenRange(within=replace(within, until=begins_at), hole=hole)
