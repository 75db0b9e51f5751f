"""The clock: positions of the commit log, taken under an advisory lock that is held until the commit.

Because the lock is released only after the commit is visible, positions become visible in order, and whoever reads the
newest row of `commits` sees everything up to it. Nothing relies on gaplessness: one commit may take many positions.

When PostgreSQL was restarted, failed over or restored since the clock last ran, rows that a client was told about may
be missing, and their positions (and nids) would be handed out again. Then both jump beyond whatever may have been given
out: to a floor that follows the time of day, so that what is given out later is always higher. Where the time of day
was set back, and the floor lies below, they jump by 2^32. One-time keys that were there are not given out any more,
since some of them may have been in the time that is lost.
"""

from dataclasses import dataclass
from datetime import datetime

from tim_server.storage.database import Connection
from tim_server.storage.one_time_keys import retire_one_time_keys
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

NEXT_NID_BLOCK = """
SELECT nextval('nid_blocks') AS block, timeline_id::bigint AS timeline, pg_postmaster_start_time() AS started
FROM pg_control_checkpoint()
"""

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
SELECT CASE WHEN floor > newest THEN floor ELSE newest + 4294967296 END
FROM (SELECT (extract(epoch FROM clock_timestamp()) * 268435456)::bigint AS floor,
             (SELECT coalesce(max(position), 0) FROM commits) AS newest) AS now
"""
JUMP_NID_BLOCKS = """
SELECT setval('nid_blocks', CASE WHEN floor > last_value THEN floor ELSE last_value + 4194304 END)
FROM nid_blocks, (SELECT ($1::bigint >> 10) + 1 AS floor) AS now
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incarnation:
    """One run of a PostgreSQL server on one history of the data: no two have both the same timeline and start."""

    timeline: int
    started: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NidBlock:
    """`NIDS_PER_BLOCK` nids from `number * NIDS_PER_BLOCK` on, and the incarnation that gave them."""

    number: int
    incarnation: Incarnation


async def next_nid_block(connection: Connection) -> NidBlock:
    """A fresh block. If its incarnation is one on which the clock has not been settled yet, it must not be used."""
    row = await connection.fetchrow(NEXT_NID_BLOCK)
    assert row is not None
    return NidBlock(number=row["block"], incarnation=Incarnation(timeline=row["timeline"], started=row["started"]))


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


async def jump_if_restored(tx: Connection) -> tuple[Incarnation, int]:
    """Jump when PostgreSQL is not the incarnation that the clock last ran on; the one it is now, and the newest
    position. The transaction holds the clock.
    """
    row = await tx.fetchrow(READ_INCARNATION)
    assert row is not None
    incarnation = Incarnation(timeline=row["now_timeline"], started=row["now_started"])
    if (incarnation.timeline, incarnation.started) == (row["postgres_timeline"], row["postgres_started"]):
        return incarnation, await tx.fetchval(READ_POSITION)
    await tx.execute(RECORD_INCARNATION, incarnation.timeline, incarnation.started)
    if row["postgres_timeline"] is None and not await tx.fetchval(READ_POSITION):
        return incarnation, 0  # a fresh schema
    position: int = await tx.fetchval(JUMPED_POSITION)
    await tx.fetchval(JUMP_NID_BLOCKS, position)
    await retire_one_time_keys(tx, position)
    await record_commit(tx, position=position, nonce=0, touched=b"{}")
    return incarnation, position
