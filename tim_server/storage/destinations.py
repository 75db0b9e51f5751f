"""Other servers as this one sends to them: whether that works, and up to where each has what is not in the outbox.

Owned by the elected sender of a homeserver, and written by no other process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import asyncpg
import orjson

from tim_server.matrix.identifiers import ServerName
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="federation_destinations",
        owner="services.transactions.send",
        bound="one row a server that anything was sent to",
        reaper="none",
    ),
)

FAILING = "failing"
"""The commit log's stream of servers: sending to them has begun to fail."""
WORKING = "working"
"""… and works again."""
HEARD = "heard"
"""… and a server to which sending fails has asked for something itself, or an administrator wants a new attempt."""


class DestinationRow(NamedTuple):
    """A server, as the table's migration says. `cursors` by name of the source."""

    destination: ServerName
    succeeded_ts: int | None = None
    failing_since_ts: int | None = None
    failures: int = 0
    retry_ts: int | None = None
    problem: str | None = None
    txn_id: str | None = None
    cursors: Mapping[str, int] = MappingProxyType({})


DESTINATION_COLUMNS = "destination, succeeded_ts, failing_since_ts, failures, retry_ts, problem, txn_id, cursors"


def _read(row: asyncpg.Record) -> DestinationRow:
    return DestinationRow._make((ServerName(row["destination"]), *[*row][1:7], orjson.loads(row["cursors"])))


LOAD_DESTINATIONS = f"""
SELECT {DESTINATION_COLUMNS} FROM federation_destinations
ORDER BY failing_since_ts NULLS LAST, succeeded_ts DESC NULLS LAST LIMIT $1
"""
LOAD_SOME_DESTINATIONS = f"SELECT {DESTINATION_COLUMNS} FROM federation_destinations WHERE destination = ANY($1)"


async def load_destinations(tx: Connection, *, limit: int) -> list[DestinationRow]:
    """The servers; of more than that, those to which sending fails and those that had something last."""
    return [_read(row) for row in await tx.fetch(LOAD_DESTINATIONS, limit)]


async def load_some_destinations(
    tx: Connection, destinations: Sequence[ServerName]
) -> dict[ServerName, DestinationRow]:
    """Those of these servers that anything was sent to."""
    rows = map(_read, await tx.fetch(LOAD_SOME_DESTINATIONS, destinations))
    return {row.destination: row for row in rows}


FIND_FAILING = "SELECT destination FROM federation_destinations WHERE failing_since_ts IS NOT NULL"


async def find_failing(tx: Connection) -> set[ServerName]:
    """The servers to which sending fails."""
    return {ServerName(row["destination"]) for row in await tx.fetch(FIND_FAILING)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What a server needs no more: up to which position of the outbox, if anything, and cursors of sources. `ts` is
    when it acknowledged that, None where it turned out to be nothing."""

    ts: int | None
    txn_id: str
    up_to: int | None
    cursors: Mapping[str, int]


PUT_DELIVERED = """
INSERT INTO federation_destinations AS d (destination, succeeded_ts, txn_id, cursors)
SELECT destination, ts, txn_id, cursors::jsonb FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[])
       AS new (destination, ts, txn_id, cursors)
ON CONFLICT (destination) DO UPDATE
SET succeeded_ts = coalesce(excluded.succeeded_ts, d.succeeded_ts), txn_id = excluded.txn_id,
    cursors = d.cursors || excluded.cursors,
    failing_since_ts = CASE WHEN d.failing_since_ts < excluded.succeeded_ts THEN NULL ELSE d.failing_since_ts END,
    failures = CASE WHEN d.failing_since_ts < excluded.succeeded_ts THEN 0 ELSE d.failures END,
    retry_ts = CASE WHEN d.failing_since_ts < excluded.succeeded_ts THEN NULL ELSE d.retry_ts END,
    problem = CASE WHEN d.failing_since_ts < excluded.succeeded_ts THEN NULL ELSE d.problem END
"""


async def put_delivered(tx: Connection, delivered: Mapping[ServerName, Delivered]) -> None:
    """Sending to these servers works, unless it has begun to fail since; this is recorded later than that."""
    await tx.execute(
        PUT_DELIVERED,
        list(delivered),
        [each.ts for each in delivered.values()],
        [each.txn_id for each in delivered.values()],
        [orjson.dumps(each.cursors).decode() for each in delivered.values()],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An attempt to send that failed, the latest of `failures` in a row since `since_ts`. `cursors` are recorded for a
    server to which nothing was sent before."""

    since_ts: int
    failures: int
    retry_ts: int
    problem: str
    cursors: Mapping[str, int]


PUT_FAILURE = """
INSERT INTO federation_destinations (destination, failing_since_ts, failures, retry_ts, problem, cursors)
VALUES ($1, $2, $3, $4, $5, $6::text::jsonb)
ON CONFLICT (destination) DO UPDATE
SET failing_since_ts = $2, failures = $3, retry_ts = $4, problem = $5
"""


async def put_failure(tx: Connection, destination: ServerName, failure: Failure) -> None:
    """Sending to this server fails."""
    cursors = orjson.dumps(failure.cursors).decode()
    await tx.execute(
        PUT_FAILURE, destination, failure.since_ts, failure.failures, failure.retry_ts, failure.problem, cursors
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationStatus:
    """A server with how many events wait for it, counted up to a bound."""

    row: DestinationRow
    waiting: int


LIST_DESTINATIONS = f"""
SELECT {DESTINATION_COLUMNS},
       (SELECT count(*) FROM (
            SELECT FROM federation_outbox AS o WHERE o.destination = d.destination LIMIT $4
        ) AS counted) AS waiting
FROM federation_destinations AS d
WHERE destination > $1 AND (NOT $2 OR failing_since_ts IS NOT NULL) ORDER BY destination LIMIT $3
"""
FIND_DESTINATION = f"""
SELECT {DESTINATION_COLUMNS},
       (SELECT count(*) FROM (
            SELECT FROM federation_outbox AS o WHERE o.destination = d.destination LIMIT $2
        ) AS counted) AS waiting
FROM federation_destinations AS d WHERE destination = $1
"""


def _read_status(row: asyncpg.Record) -> DestinationStatus:
    return DestinationStatus(row=_read(row), waiting=row["waiting"])


async def list_destinations(
    tx: Connection, *, after: str, failing_only: bool, limit: int, counted_max: int
) -> list[DestinationStatus]:
    """The servers after one in the order of their names."""
    rows = await tx.fetch(LIST_DESTINATIONS, after, failing_only, limit, counted_max)
    return [_read_status(row) for row in rows]


async def find_destination(tx: Connection, destination: ServerName, *, counted_max: int) -> DestinationStatus | None:
    """One server; None where nothing was ever sent to it."""
    row = await tx.fetchrow(FIND_DESTINATION, destination, counted_max)
    return None if row is None else _read_status(row)
