"""Nothing of a deleted room stays in any table, whatever was known of it; what is kept so that its former members learn
of it goes later.

Who adds a table that holds anything of rooms meets `test_every_table_with_rows_of_rooms_is_purged`.
"""

import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.deleting import deleted
from tests.people import Hospital, Person
from tests.table_dump import Tables, open_tables
from tim_server.storage import former_rooms, room_purge
from tim_server.storage.connect import connect

KEPT = {
    "audit_log": "who did what is kept",
    "blocked_rooms": "that a room is blocked holds until it is unblocked",
    "key_backup_keys": "keys that a user has backed up, which only they can read, are theirs",
    "reports": "what was reported is decided by administrators, who delete it",
    "room_deletions": "how a deletion went is told for a month",
}
OF_FORMER_MEMBERS = {"rooms", "memberships", "membership_history", "outside_memberships", "forgotten_rooms"}
"""Where it is kept for a month that a deleted room was left."""
REFERENCE = re.compile(r"(^|_)nids?$|^(snapshot|parent|replaces|redacted_by|forward_extremities|added|removed|citing)$")
COLUMNS = """
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = current_schema() AND column_name = ANY('{room_nid,room_id,event_nid}')
"""
PLANTED = (
    "INSERT INTO waiting_pdus (room_nid, event_id, origin, pdu, due_ts) VALUES ($1, '$e', 'b.example', '', 9e15)",
    "INSERT INTO unverified_servers (room_nid, server_name, due_ts) VALUES ($1, 'b.example', 9e15)",
    "INSERT INTO joins_under_way (room_nid, until_ts) VALUES ($1, 0)",
    "INSERT INTO timeline_holes (room_nid, position, missing) VALUES ($1, 0, '{}')",
    "INSERT INTO typing (room_nid, user_id, is_typing, expires_ts, position) VALUES ($1, '@b:c', true, 9e15, 1)",
    "INSERT INTO forgotten_rooms (user_id, room_nid, position) SELECT min(user_id), $1, 0 FROM users",
    "INSERT INTO federation_outbox (destination, position, event_nid)"
    " SELECT 'gone.example', 1, min(nid) FROM events WHERE room_nid = $1",
    "INSERT INTO outside_memberships (room_nid, user_id, event_nid, position, membership, room_version, event_id,"
    " sender, origin_server_ts, body) VALUES ($1, '@b:c', -1, 1, 'leave', '11', '$e', '@b:c', 1, '\\x00')",
    "INSERT INTO relations (event_nid, room_nid, event_id, relates_to_id, rel_type, type, sender, origin_server_ts,"
    " position, minor) VALUES (-1, $1, '$late', '$e', 'm.thread', 'm', '@b:c', 1, 1, 0)",
)
"""What rarely comes about, and what those write late who found the room before it was gone."""


@pytest.fixture
async def tables(tenant_dsn: str) -> AsyncIterator[Tables]:
    async with open_tables(tenant_dsn) as tables:
        yield tables


@pytest.fixture
async def connection(tenant_dsn: str) -> AsyncIterator[Any]:
    connection = await connect(tenant_dsn)
    yield connection
    await connection.close()


async def lively_room(hospital: Hospital, connection: Any) -> tuple[str, set[int]]:
    """A room in which all has happened that rooms know; its id, and all nids of it."""
    alice, bob, carol = [await hospital.person(displayname=name) for name in ("Alice", "Bob", "Carol")]
    room_id = await alice.create_room(visibility="public", room_alias_name=f"lively-{time.time_ns()}")
    await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "world_readable"})
    await bob.join(room_id)
    first = await alice.send(room_id, {"msgtype": "m.text", "body": "root", "m.mentions": {"user_ids": [bob.user_id]}})
    await bob.say(room_id, f"hello {alice.user_id}")
    thread = {"msgtype": "m.text", "body": "in it", "m.relates_to": {"rel_type": "m.thread", "event_id": first}}
    threaded = await bob.send(room_id, thread)
    await bob.post(f"rooms/{room_id}/receipt/m.read/{first}")
    await alice.put(f"rooms/{room_id}/redact/{threaded}/t1", {})
    await bob.send(room_id, thread)
    await alice.put(f"user/{alice.user_id}/rooms/{room_id}/tags/m.favourite", {"order": 0.5})
    await carol.put(f"user/{carol.user_id}/rooms/{room_id}/account_data/org.example", {"never": "there"})
    await alice.post(f"rooms/{room_id}/invite", {"user_id": carol.user_id})
    nid = await connection.fetchval("SELECT nid FROM rooms WHERE room_id = $1", room_id)
    for statement in PLANTED:
        await connection.execute(statement, nid)
    rows = await connection.fetch(
        "SELECT nid FROM events WHERE room_nid = $1 UNION SELECT nid FROM state_snapshots WHERE room_nid = $1", nid
    )
    return room_id, {nid, -1, *(row["nid"] for row in rows)}


def found_in(dump: Any, room_id: str, nids: set[int]) -> dict[str, list[Any]]:
    """The rows that name the room, or anything of it, by table."""
    found: dict[str, list[Any]] = {}
    for table, text in dump:
        row = json.loads(text)
        numbers = [value for key, value in row.items() if REFERENCE.search(key) and value is not None]
        named = {each for value in numbers for each in (value if isinstance(value, list) else [value])}
        if room_id in text or (table != "room_deletions" and table not in KEPT and named & nids):
            found.setdefault(table, []).append(row)
    return found


async def test_nothing_of_a_deleted_room_stays(
    admin: Person, administered: Hospital, tables: Tables, connection: Any
) -> None:
    room_id, nids = await lively_room(administered, connection)
    before = found_in(await tables.dump(), room_id, nids)
    columns = {row["table_name"] for row in await connection.fetch(COLUMNS)}
    assert columns - KEPT.keys() - before.keys() == set(), "plant a row of the room in each table that knows rooms"
    await deleted(admin, room_id)
    after = found_in(await tables.dump(), room_id, nids)
    assert after.keys() <= {"rooms", *KEPT}, {table: rows for table, rows in after.items() if table not in KEPT}
    (row,) = after["rooms"]
    assert row["forward_extremities"] == [] and row["nid"] not in nids


async def test_what_former_members_are_told_by_goes_later(
    admin: Person, administered: Hospital, tables: Tables, connection: Any
) -> None:
    room_id, nids = await lively_room(administered, connection)
    before = await tables.dump()
    await deleted(admin, room_id)
    kept = {table for table, _ in await tables.dump() - before}
    assert kept >= OF_FORMER_MEMBERS
    for statement in PLANTED:  # as by somebody who was slow
        if "min(" not in statement:
            await connection.execute(statement, min(nids - {-1}))
    nid = await connection.fetchval("SELECT nid FROM rooms WHERE room_id = $1", room_id)
    while await former_rooms.forget_some(connection, before_ts=2**60):
        pass
    await connection.execute("DELETE FROM rooms WHERE nid = $1", nid)  # as the reaping of rooms not entered does
    after = found_in(await tables.dump(), room_id, nids | {nid})
    assert after.keys() <= {"audit_log"}, after


async def test_a_room_that_was_entered_again_keeps_what_is_new(
    admin: Person, administered: Hospital, connection: Any
) -> None:
    alice = await administered.person()
    room_id = await alice.create_room()
    await deleted(admin, room_id, purge=False)
    await alice.join(room_id)
    await connection.execute("UPDATE room_deletions SET finished_ts = 1")
    while await former_rooms.forget_some(connection, before_ts=2):
        pass
    assert await alice.say(room_id, "still here")
    assert room_id in (await alice.sync_now())["rooms"]["join"]


def purged_tables() -> set[str]:
    """The tables that the statements of the purge delete from."""
    source = "".join(Path(str(module.__file__)).read_text(encoding="utf-8") for module in (room_purge, former_rooms))
    return {*re.findall(r"DELETE FROM (\w+)", source)}


async def test_every_table_with_rows_of_rooms_is_purged(connection: Any) -> None:
    known = {row["table_name"] for row in await connection.fetch(COLUMNS)}
    forgotten = known - purged_tables() - KEPT.keys()
    assert not forgotten, f"{forgotten}: add them to storage/room_purge.py, or to KEPT here with the reason"
