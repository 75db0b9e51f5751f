"""Storing history that was fetched: events go into a hole of the timeline, and the hole moves before them, at once.

Where somebody else has filled the hole meanwhile, nothing is written. The clock is held, so that nobody can in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tim_server.matrix.identifiers import UserId
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import Fact
from tim_server.storage.database import Connection
from tim_server.storage.holes import HoleRow, insert_holes, load_hole, move_hole
from tim_server.storage.new_events import PlacedEvent, insert_events
from tim_server.storage.relations import NewRelation, insert_relations
from tim_server.storage.room_commits import mark_redacted
from tim_server.storage.state import SnapshotRow, bigint_array, insert_snapshots

FILLED = "filled"
"""The stream of facts that say that history came into a room; no client is told of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """The edges of a stored event to those before it, now that more of them are stored."""

    nid: int
    prev_nids: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryFill:
    """What goes into a hole. `hole` is as it was found, `moved` what takes its place, or with `keeps_hole` what comes
    beside it. `edges` are those of the events that named what was missing."""

    codec: Codec
    hole: HoleRow
    moved: HoleRow | None
    events: Sequence[PlacedEvent] = ()
    snapshots: Sequence[SnapshotRow] = ()
    redactions: Sequence[tuple[int, int]] = ()
    edges: Sequence[Edges] = ()
    keeps_hole: bool = False
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    @property
    def resets(self) -> Sequence[int]:
        """The room, where what the commit log's tail holds of it may be redacted now."""
        return (self.hole.room_nid,) if self.redactions else ()

    @property
    def facts(self) -> Sequence[Fact]:
        """That there may be events now for which something waits."""
        return (Fact(FILLED, self.hole.room_nid, ()),)

    async def store(self, tx: Connection, position: int) -> bool:
        """Write all of it; False where the hole is not as it was found, or an event that was an outlier has got its
        place meanwhile, and nothing is written."""
        found = await load_hole(tx, self.hole.room_nid, self.hole.place)
        if found is None or [*found.missing] != [*self.hole.missing]:
            return False
        if await tx.fetchval(IS_ANY_KNOWN, [each.event.nid for each in self.events if each.event.is_stored]):
            return False
        await insert_events(tx, self.codec, self.events)
        await insert_snapshots(tx, self.snapshots)
        await insert_relations(tx, [relation.as_row(self.codec) for relation in _relations(self.events)])
        await mark_redacted(tx, self.redactions)
        await tx.execute(
            SET_EDGES, [each.nid for each in self.edges], [bigint_array(each.prev_nids) for each in self.edges]
        )
        if not self.keeps_hole:
            await move_hole(tx, self.hole, self.moved)
        elif self.moved is not None:
            await insert_holes(tx, [self.moved])
        return True


IS_ANY_KNOWN = "SELECT EXISTS (SELECT FROM events WHERE nid = ANY($1) AND snapshot IS NOT NULL)"

SET_EDGES = """
UPDATE events AS e SET prev_nids = new.prev_nids::bigint[]
FROM unnest($1::bigint[], $2::text[]) AS new (nid, prev_nids)
WHERE e.nid = new.nid
"""


def _relations(placed: Sequence[PlacedEvent]) -> list[NewRelation]:
    return [
        NewRelation(
            event_nid=each.event.nid,
            room_nid=each.room_nid,
            event_id=each.event.event_id,
            relation=each.event.relation,
            type=each.event.type,
            sender=each.event.sender,
            origin_server_ts=each.event.origin_server_ts,
            position=each.position,
            minor=each.minor,
        )
        for each in placed
        if each.event.relation is not None and each.position is not None
    ]
