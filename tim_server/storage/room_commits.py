"""What one commit writes about rooms: events, snapshots, head, derived state and memberships, in set statements.

A `RoomCommit` is decided outside any transaction on a remembered head; `store` writes many of them at once, each
statement for all rooms together. The caller holds the rows of the rooms and the clock.
"""

from collections.abc import Sequence

from tim_server.storage.client_transactions import insert_client_transactions
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.holes import HoleRow, insert_holes
from tim_server.storage.memberships import write_memberships
from tim_server.storage.new_events import PlacedEvent, insert_events
from tim_server.storage.notifications import insert_notifications
from tim_server.storage.outbox import insert_outbox
from tim_server.storage.relations import NewRelation, delete_relations, insert_relations
from tim_server.storage.room_commit_records import PlacedCommit, RoomCommit, owed_by
from tim_server.storage.state import MembershipRow, bigint_array, insert_snapshots


async def insert_transactions_of(tx: Connection, commits: Sequence[RoomCommit]) -> list[RoomCommit]:
    """Record the transaction ids; the commits of which one was known already (nothing may be committed then)."""
    known = await insert_client_transactions(tx, [t for commit in commits for t in commit.transactions])
    return [commit for commit in commits if any(t.event_nid in known for t in commit.transactions)]


async def store(tx: Connection, codec: Codec, placed: Sequence[PlacedCommit]) -> None:
    """Write the commits. The transaction holds the rows of the rooms and the clock."""
    await insert_events(
        tx,
        codec,
        [
            PlacedEvent(event, p.commit.room_nid, position)
            for p in placed
            for event, position in zip(p.commit.events, p.positions, strict=True)
        ],
    )
    await _write_rooms(tx, placed)
    if any(p.commit.snapshots for p in placed):
        await insert_snapshots(tx, [row for p in placed for row in p.commit.snapshots])
        await _insert_state_log(tx, placed)
    if any(p.commit.state_changes for p in placed):
        await _write_current_state(tx, placed)
    if any(p.commit.memberships for p in placed):
        await _write_memberships(tx, placed)
    await _insert_relations(tx, codec, placed)
    redactions = [pair for p in placed for pair in p.commit.redactions]
    if redactions:
        await mark_redacted(tx, redactions)
    if any(p.commit.notifications for p in placed):
        await _insert_notifications(tx, placed)
    if any(p.commit.holes for p in placed):
        await _insert_holes(tx, placed)
    if any(p.commit.outbox for p in placed):
        await _insert_outbox(tx, placed)


INSERT_ROOMS = """
INSERT INTO rooms (nid, room_id, room_version, head_version, forward_extremities, depth, snapshot)
SELECT nid, room_id, room_version, head_version, extremities::bigint[], depth, snapshot
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[])
     AS new (nid, room_id, room_version, head_version, extremities, depth, snapshot)
"""

UPDATE_ROOMS = """
UPDATE rooms AS r
SET head_version = new.head_version, forward_extremities = new.extremities::bigint[], depth = new.depth,
    snapshot = new.snapshot, room_version = new.room_version
FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::text[])
     AS new (nid, head_version, extremities, depth, snapshot, room_version)
WHERE r.nid = new.nid
"""


async def _write_rooms(tx: Connection, placed: Sequence[PlacedCommit]) -> None:
    new = [p for p in placed if p.commit.expected_version is None]
    known = [p for p in placed if p.commit.expected_version is not None]
    if new:
        await tx.execute(
            INSERT_ROOMS,
            [p.commit.room_nid for p in new],
            [p.commit.room_id for p in new],
            [p.commit.room_version for p in new],
            [p.last_position for p in new],
            [bigint_array(p.commit.forward_extremities) for p in new],
            [p.commit.depth for p in new],
            [p.commit.snapshot for p in new],
        )
    if known:
        await tx.execute(
            UPDATE_ROOMS,
            [p.commit.room_nid for p in known],
            [p.last_position for p in known],
            [bigint_array(p.commit.forward_extremities) for p in known],
            [p.commit.depth for p in known],
            [p.commit.snapshot for p in known],
            [p.commit.room_version for p in known],
        )


INSERT_STATE_LOG = """
INSERT INTO room_state_log (room_nid, position, snapshot)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])
"""


async def _insert_state_log(tx: Connection, placed: Sequence[PlacedCommit]) -> None:
    changed = [p for p in placed if p.commit.snapshots]
    await tx.execute(
        INSERT_STATE_LOG,
        [p.commit.room_nid for p in changed],
        [p.last_position for p in changed],
        [p.commit.snapshot for p in changed],
    )


UPSERT_CURRENT_STATE = """
INSERT INTO current_state (room_nid, type, state_key, event_nid)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[])
ON CONFLICT (room_nid, type, state_key) DO UPDATE SET event_nid = excluded.event_nid
"""

DELETE_CURRENT_STATE = """
DELETE FROM current_state AS s
USING unnest($1::bigint[], $2::text[], $3::text[]) AS gone (room_nid, type, state_key)
WHERE s.room_nid = gone.room_nid AND s.type = gone.type AND s.state_key = gone.state_key
"""


async def _write_current_state(tx: Connection, placed: Sequence[PlacedCommit]) -> None:
    changes = [(p.commit.room_nid, change) for p in placed for change in p.commit.state_changes]
    kept = [(room_nid, change) for room_nid, change in changes if change.event_nid is not None]
    gone = [(room_nid, change) for room_nid, change in changes if change.event_nid is None]
    if kept:
        await tx.execute(
            UPSERT_CURRENT_STATE,
            [room_nid for room_nid, _ in kept],
            [change.type for _, change in kept],
            [change.state_key for _, change in kept],
            [change.event_nid for _, change in kept],
        )
    if gone:
        await tx.execute(
            DELETE_CURRENT_STATE,
            [room_nid for room_nid, _ in gone],
            [change.type for _, change in gone],
            [change.state_key for _, change in gone],
        )


async def _write_memberships(tx: Connection, placed: Sequence[PlacedCommit]) -> None:
    await write_memberships(
        tx,
        [
            MembershipRow(
                user_id=change.user_id,
                room_nid=p.commit.room_nid,
                membership=change.membership,
                event_nid=change.event_nid,
                position=p.position_of(change.event_index),
            )
            for p in placed
            for change in p.commit.memberships
        ],
    )


async def _insert_relations(tx: Connection, codec: Codec, placed: Sequence[PlacedCommit]) -> None:
    new = [
        NewRelation(
            event_nid=event.nid,
            room_nid=p.commit.room_nid,
            event_id=event.event_id,
            relation=event.relation,
            type=event.type,
            sender=event.sender,
            origin_server_ts=event.origin_server_ts,
            position=position,
        )
        for p in placed
        for event, position in zip(p.commit.events, p.positions, strict=True)
        if event.relation is not None and position is not None
    ]
    await insert_relations(tx, [child.as_row(codec) for child in new])


MARK_REDACTED = """
UPDATE events AS e SET redacted_by = r.redacted_by
FROM unnest($1::bigint[], $2::bigint[]) AS r (nid, redacted_by)
WHERE e.nid = r.nid AND e.redacted_by IS NULL
"""


async def mark_redacted(tx: Connection, redactions: Sequence[tuple[int, int]]) -> None:
    """Note of events by what they are redacted: pairs of nids."""
    await tx.execute(MARK_REDACTED, [target for target, _ in redactions], [by for _, by in redactions])
    await delete_relations(tx, [target for target, _ in redactions])


async def _insert_notifications(tx: Connection, placed: Sequence[PlacedCommit]) -> None:
    await insert_notifications(
        tx,
        [
            (notification, p.commit.room_nid, p.position_of(notification.event_index))
            for p in placed
            for notification in p.commit.notifications
        ],
    )


async def _insert_outbox(tx: Connection, placed: Sequence[PlacedCommit]) -> None:
    await insert_outbox(tx, owed_by(placed))


async def _insert_holes(tx: Connection, placed: Sequence[PlacedCommit]) -> None:
    await insert_holes(
        tx,
        [
            HoleRow(
                room_nid=p.commit.room_nid,
                position=p.position_of(hole.event_index),
                missing=hole.missing,
                citing=(p.commit.events[hole.event_index].nid,),
            )
            for p in placed
            for hole in p.commit.holes
        ],
    )
