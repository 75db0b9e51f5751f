"""Rooms that everybody may look into or join, so that their members are visible to all. Derived from the state.

A row says that the state event of this type, with an empty state key, opens the room.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import orjson

from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.room_commit_records import PlacedCommit
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="open_rooms",
        owner="storage.writer",
        bound="two rows a room",
        reaper="room purge, and changes of the room's state",
        derived=True,
    ),
)

OPENING = {
    "m.room.join_rules": ("join_rule", "public"),
    "m.room.history_visibility": ("history_visibility", "world_readable"),
}
"""Types of state, and the key and value of the content that opens a room."""

LOAD_BODIES = "SELECT nid, body FROM events WHERE nid = ANY($1)"
DELETE_OPEN = """
DELETE FROM open_rooms AS o USING unnest($1::bigint[], $2::text[]) AS changed (room_nid, type)
WHERE o.room_nid = changed.room_nid AND o.type = changed.type
"""
INSERT_OPEN = """
INSERT INTO open_rooms (room_nid, type) SELECT * FROM unnest($1::bigint[], $2::text[]) ON CONFLICT DO NOTHING
"""


async def write_open_rooms(tx: Connection, codec: Codec, placed: Sequence[PlacedCommit]) -> None:
    """Follow the state that the commits set."""
    changed = {
        (p.commit.room_nid, change.type): change.event_nid
        for p in placed
        for change in p.commit.state_changes
        if change.type in OPENING and change.state_key == ""
    }
    if not changed:
        return
    bodies = {event.nid: event.body for p in placed for event in p.commit.events}
    bodies |= await _load_bodies(tx, codec, {nid for nid in changed.values() if nid is not None} - bodies.keys())
    opened = open_among(changed, bodies)
    new = {p.commit.room_nid for p in placed if p.commit.expected_version is None}
    closed = [key for key in changed if key not in opened and key[0] not in new]
    await _apply(tx, closed=closed, opened=opened)


def open_among(events: Mapping[tuple[int, str], int | None], bodies: Mapping[int, bytes]) -> set[tuple[int, str]]:
    """Those of the (room nid, type) whose event opens the room; `bodies` holds the events' JSON by nid."""
    opened = set()
    for key, nid in events.items():
        body = None if nid is None else bodies.get(nid)
        content = {} if body is None else orjson.loads(body).get("content")
        name, value = OPENING[key[1]]
        if isinstance(content, dict) and content.get(name) == value:
            opened.add(key)
    return opened


async def _load_bodies(tx: Connection, codec: Codec, nids: Iterable[int]) -> dict[int, bytes]:
    wanted = list(nids)
    if not wanted:
        return {}
    return {row["nid"]: codec.decode(row["body"]) for row in await tx.fetch(LOAD_BODIES, wanted)}


CURRENT = "SELECT room_nid, type, event_nid FROM current_state WHERE type = ANY($1) AND state_key = ''"
READ_OPEN = "SELECT room_nid, type FROM open_rooms"


async def rebuild_open_rooms(tx: Connection, codec: Codec) -> int:
    """Make the table anew from the current state; how many rows were missing or wrong."""
    current = {(row["room_nid"], row["type"]): row["event_nid"] for row in await tx.fetch(CURRENT, [*OPENING])}
    wanted = open_among(current, await _load_bodies(tx, codec, current.values()))
    found = {(row["room_nid"], row["type"]) for row in await tx.fetch(READ_OPEN)}
    await _apply(tx, closed=found - wanted, opened=wanted - found)
    return len(wanted ^ found)


async def _apply(tx: Connection, *, closed: Collection[tuple[int, str]], opened: Collection[tuple[int, str]]) -> None:
    for sql, rows in ((DELETE_OPEN, closed), (INSERT_OPEN, opened)):
        if rows:
            await tx.execute(sql, [nid for nid, _ in rows], [event_type for _, event_type in rows])
