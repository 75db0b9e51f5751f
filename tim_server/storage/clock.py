"""The clock: positions of the commit log, taken under an advisory lock that is held until the commit.

Because the lock is released only after the commit is visible, positions become visible in order, and whoever reads the
newest row of `commits` sees everything up to it. Nothing relies on gaplessness: one commit may take many positions.

When PostgreSQL was restarted, failed over or restored since the clock last ran, rows that a client was told about may
be missing, and their positions (and nids) would be handed out again. Then both jump far beyond whatever was given out:
by 2^32 at least, and to a floor that grows with the time of day.
"""

from datetime import datetime
from typing import TypeAlias

from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="commits",
        owner="storage.writer",
        bound="the newest 10,000 rows and a day",
        reaper="storage.commit_log.trim",
    ),
    TableContract(name="clock_incarnations", owner="storage.clock", bound="one row", reaper="none"),
)

NIDS_PER_BLOCK = 1024

LOCK_CLOCK = "SELECT pg_advisory_xact_lock(1414090032, hashtext(current_schema()::text))"
READ_POSITION = "SELECT coalesce(max(position), 0) FROM commits"
INSERT_COMMIT = "INSERT INTO commits (position, writer_nonce, touched) VALUES ($1, $2, $3)"
FIND_COMMIT = "SELECT EXISTS (SELECT FROM commits WHERE position = $1 AND writer_nonce = $2)"
NEXT_NID_BLOCK = "SELECT nextval('nid_blocks')"

READ_INCARNATION = """
SELECT (SELECT timeline_id::bigint FROM pg_control_checkpoint()) AS now_timeline,
       pg_postmaster_start_time() AS now_started,
       c.postgres_timeline, c.postgres_started
FROM (SELECT) AS one LEFT JOIN clock_incarnations AS c ON true
"""
RECORD_INCARNATION = """
INSERT INTO clock_incarnations (postgres_timeline, postgres_started) VALUES ($1, $2)
ON CONFLICT (singleton) DO UPDATE SET postgres_timeline = $1, postgres_started = $2
"""
JUMPED_POSITION = """
SELECT greatest(max(position) + 4294967296, extract(epoch FROM clock_timestamp())::bigint << 20) FROM commits
"""
JUMP_NID_BLOCKS = (
    "SELECT setval('nid_blocks', greatest((SELECT last_value FROM nid_blocks) + 1, ($1::bigint >> 10) + 1))"
)


Incarnation: TypeAlias = tuple[int, datetime]


async def lock_clock(tx: Connection) -> int:
    """Take the clock until the transaction ends; the newest position. No later statement may wait for a lock."""
    await tx.execute(LOCK_CLOCK)
    position: int = await tx.fetchval(READ_POSITION)
    return position


async def record_commit(tx: Connection, *, position: int, nonce: int, touched: bytes) -> None:
    """Append the commit's row; the transaction holds the clock."""
    await tx.execute(INSERT_COMMIT, position, nonce, touched)


async def was_committed(tx: Connection, *, position: int, nonce: int) -> bool:
    """Whether a commit whose connection was lost has happened. The transaction holds the clock, so the lost one has
    ended."""
    found: bool = await tx.fetchval(FIND_COMMIT, position, nonce)
    return found


async def jump_if_restored(tx: Connection) -> Incarnation:
    """Jump when PostgreSQL is not the incarnation (timeline and start) that the clock last ran on; the one it is now.

    The transaction holds the clock.
    """
    row = await tx.fetchrow(READ_INCARNATION)
    assert row is not None
    incarnation = (row["now_timeline"], row["now_started"])
    if incarnation == (row["postgres_timeline"], row["postgres_started"]):
        return incarnation
    await tx.execute(RECORD_INCARNATION, *incarnation)
    if await tx.fetchval(READ_POSITION):
        position: int = await tx.fetchval(JUMPED_POSITION)
        await tx.fetchval(JUMP_NID_BLOCKS, position)
        await record_commit(tx, position=position, nonce=0, touched=b"{}")
    return incarnation
