"""One-time keys and fallback keys of devices. Not derived from the event log.

No one-time key is ever given out twice: what was given out, or may have been before a restore, stays as a tombstone
(without its value, `position` telling when it went) so that a client that repeats an upload doesn't bring it back. Only
the writer touches these tables, and the writers of all processes take turns; so no two claims see the same key.

Spec: https://spec.matrix.org/v1.19/client-server-api/#one-time-and-fallback-keys
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

import asyncpg

from tim_server.matrix.end_to_end.one_time_keys import OneTimeKey
from tim_server.matrix.identifiers import UserId
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="one_time_keys",
        owner="services.keys",
        bound="of each device 1,000 unclaimed keys of up to 8 KiB, and 200 tombstones beside those of a restore",
        reaper="each upload removes older tombstones of the device; removal of the device",
    ),
    TableContract(
        name="fallback_keys",
        owner="services.keys",
        bound="one row a device and algorithm, of up to 8 KiB; 10 algorithms",
        reaper="removal of the device",
    ),
)

TOMBSTONES_MAX = 200

FIND_OTHER_KEYS = """
SELECT EXISTS (
    SELECT FROM unnest($3::text[], $4::text[], $5::bytea[]) AS new (algorithm, key_id, key_hash)
    JOIN one_time_keys AS k ON k.user_id = $1 AND k.device_id = $2
     AND k.algorithm = new.algorithm AND k.key_id = new.key_id AND k.key_hash <> new.key_hash AND k.value IS NOT NULL
)
"""


async def has_other_keys(tx: Connection, user_id: UserId, device_id: str, keys: Sequence[OneTimeKey]) -> bool:
    """Whether the device has an unclaimed key of the same name as one of these that is another key."""
    names = [key.algorithm for key in keys], [key.key_id for key in keys]
    found: bool = await tx.fetchval(FIND_OTHER_KEYS, user_id, device_id, *names, [key.key_hash for key in keys])
    return found


ADD_ONE_TIME_KEYS = """
INSERT INTO one_time_keys AS k (user_id, device_id, algorithm, key_id, position, key_hash, value)
SELECT $1, $2, algorithm, key_id, $3, key_hash, value
FROM unnest($4::text[], $5::text[], $6::bytea[], $7::bytea[]) AS new (algorithm, key_id, key_hash, value)
ON CONFLICT (user_id, device_id, algorithm, key_id)
DO UPDATE SET position = $3, key_hash = excluded.key_hash, value = excluded.value
WHERE k.value IS NULL AND k.key_hash <> excluded.key_hash
"""
REAP_TOMBSTONES = """
DELETE FROM one_time_keys WHERE user_id = $1 AND device_id = $2 AND value IS NULL AND position < (
    SELECT min(position) FROM (
        SELECT position FROM one_time_keys WHERE user_id = $1 AND device_id = $2 AND value IS NULL
        ORDER BY position DESC LIMIT $3
    ) AS newest
)
"""


async def add_one_time_keys(
    tx: Connection, codec: Codec, owner: tuple[UserId, str], keys: Sequence[OneTimeKey], *, position: int
) -> None:
    """Add what is new; keys that the device has or had, and tombstones of old, are let be."""
    await tx.execute(
        ADD_ONE_TIME_KEYS,
        *owner,
        position,
        [key.algorithm for key in keys],
        [key.key_id for key in keys],
        [key.key_hash for key in keys],
        [codec.encode(key.value) for key in keys],
    )
    await tx.execute(REAP_TOMBSTONES, *owner, TOMBSTONES_MAX)


PUT_FALLBACK_KEYS = """
INSERT INTO fallback_keys AS k (user_id, device_id, algorithm, key_id, position, key_hash, value)
SELECT $1, $2, algorithm, key_id, $3, key_hash, value
FROM unnest($4::text[], $5::text[], $6::bytea[], $7::bytea[]) AS new (algorithm, key_id, key_hash, value)
ON CONFLICT (user_id, device_id, algorithm)
DO UPDATE SET key_id = excluded.key_id, position = $3, key_hash = excluded.key_hash, value = excluded.value,
              used = false
WHERE k.key_id <> excluded.key_id OR k.key_hash <> excluded.key_hash
"""


async def put_fallback_keys(
    tx: Connection, codec: Codec, owner: tuple[UserId, str], keys: Sequence[OneTimeKey], *, position: int
) -> None:
    """Set the fallback keys of these algorithms. One that the device has already stays used, if it is."""
    await tx.execute(
        PUT_FALLBACK_KEYS,
        *owner,
        position,
        [key.algorithm for key in keys],
        [key.key_id for key in keys],
        [key.key_hash for key in keys],
        [codec.encode(key.value) for key in keys],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCounts:
    """How many unclaimed one-time keys a device has, and which fallback keys that were not used, by algorithm.
    `changed_at`: the position at which that last changed."""

    one_time_keys: dict[str, int]
    unused_fallback_keys: tuple[str, ...]
    fallback_keys: int
    changed_at: int


NO_KEYS = KeyCounts(one_time_keys={}, unused_fallback_keys=(), fallback_keys=0, changed_at=0)

LOAD_KEY_COUNTS = """
SELECT user_id, device_id, 'one-time' AS kind, algorithm,
       count(*) FILTER (WHERE value IS NOT NULL) AS number, max(position) AS position
FROM one_time_keys WHERE user_id = ANY($1) AND ($2::text IS NULL OR device_id = $2)
GROUP BY user_id, device_id, algorithm
UNION ALL
SELECT user_id, device_id, 'fallback', algorithm, (NOT used)::int, position
FROM fallback_keys WHERE user_id = ANY($1) AND ($2::text IS NULL OR device_id = $2)
ORDER BY user_id, device_id, kind, algorithm
"""


async def load_key_counts(tx: Connection, user_id: UserId, device_id: str) -> KeyCounts:
    """What `/sync` and `/keys/upload` tell of the device's keys."""
    rows = await tx.fetch(LOAD_KEY_COUNTS, [user_id], device_id)
    return _counts(rows) if rows else NO_KEYS


async def load_key_counts_of_users(
    tx: Connection, user_ids: Collection[UserId]
) -> dict[UserId, Mapping[str, KeyCounts]]:
    """The same of all devices of these users that have keys, by device id."""
    rows = await tx.fetch(LOAD_KEY_COUNTS, list(user_ids), None)
    found: dict[UserId, dict[str, KeyCounts]] = {user_id: {} for user_id in user_ids}
    for (user_id, device_id), of_device in groupby(rows, key=lambda row: (row["user_id"], row["device_id"])):
        found[UserId(user_id)][device_id] = _counts(list(of_device))
    return {**found}


def _counts(rows: Sequence[asyncpg.Record]) -> KeyCounts:
    fallback = [row for row in rows if row["kind"] == "fallback"]
    return KeyCounts(
        one_time_keys={row["algorithm"]: row["number"] for row in rows if row["kind"] == "one-time" and row["number"]},
        unused_fallback_keys=tuple(row["algorithm"] for row in fallback if row["number"]),
        fallback_keys=len(fallback),
        changed_at=max(row["position"] for row in rows),
    )


KeyName: TypeAlias = tuple[UserId, str, str]
"""A user, a device of theirs, and an algorithm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedKey:
    """A key to give out: its name, `<algorithm>:<key_id>`, and its value as JSON."""

    user_id: UserId
    device_id: str
    name: str
    value: bytes


CLAIM_ONE_TIME_KEYS = """
WITH next AS (
    SELECT k.user_id, k.device_id, k.algorithm, k.key_id, k.value
    FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (user_id, device_id, algorithm)
    CROSS JOIN LATERAL (
        SELECT user_id, device_id, algorithm, key_id, value FROM one_time_keys
        WHERE user_id = wanted.user_id AND device_id = wanted.device_id AND algorithm = wanted.algorithm
          AND value IS NOT NULL
        ORDER BY position, key_id LIMIT 1
    ) AS k
)
UPDATE one_time_keys AS k SET value = NULL, position = $4 FROM next
WHERE (k.user_id, k.device_id, k.algorithm, k.key_id)
    = (next.user_id, next.device_id, next.algorithm, next.key_id)
RETURNING next.user_id, next.device_id, next.algorithm, next.key_id, next.value
"""
CLAIM_FALLBACK_KEYS = """
WITH found AS (
    SELECT k.user_id, k.device_id, k.algorithm, k.key_id, k.value
    FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (user_id, device_id, algorithm)
    JOIN fallback_keys AS k USING (user_id, device_id, algorithm)
), marked AS (
    UPDATE fallback_keys AS k SET used = true, position = $4 FROM found
    WHERE (k.user_id, k.device_id, k.algorithm) = (found.user_id, found.device_id, found.algorithm) AND NOT k.used
)
SELECT user_id, device_id, algorithm, key_id, value FROM found
"""


async def claim_keys(tx: Connection, codec: Codec, wanted: Sequence[KeyName], *, position: int) -> list[ClaimedKey]:
    """Give out a key of each device and algorithm, each of which is named once: the one-time key that was uploaded
    first, or where none is left the fallback key. Devices that have neither are missing."""
    rows = await tx.fetch(CLAIM_ONE_TIME_KEYS, *zip(*wanted, strict=True), position)
    claimed = {(row["user_id"], row["device_id"], row["algorithm"]) for row in rows}
    missing = [name for name in wanted if name not in claimed]
    if missing:
        rows += await tx.fetch(CLAIM_FALLBACK_KEYS, *zip(*missing, strict=True), position)
    return [
        ClaimedKey(
            user_id=UserId(row["user_id"]),
            device_id=row["device_id"],
            name=f"{row['algorithm']}:{row['key_id']}",
            value=codec.decode(row["value"]),
        )
        for row in rows
    ]


RETIRE_ONE_TIME_KEYS = "UPDATE one_time_keys SET value = NULL, position = $1 WHERE value IS NOT NULL"


async def retire_one_time_keys(tx: Connection, position: int) -> None:
    """Give out no more of the keys that there are: after a restore nobody knows which of them were given out in the
    time that was lost. Clients upload new ones when they see that none are left."""
    await tx.execute(RETIRE_ONE_TIME_KEYS, position)


DELETE_KEYS_FOR_CLAIMS = """
WITH gone AS (DELETE FROM one_time_keys WHERE user_id = $1 AND device_id = ANY($2::text[]))
DELETE FROM fallback_keys WHERE user_id = $1 AND device_id = ANY($2::text[])
"""


async def delete_keys_for_claims(tx: Connection, user_id: UserId, device_ids: Sequence[str]) -> None:
    """Remove all one-time keys and fallback keys of these devices."""
    await tx.execute(DELETE_KEYS_FOR_CLAIMS, user_id, device_ids)
