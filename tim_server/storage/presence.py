"""Presence of users, and what their devices say when they sync. UNLOGGED: a crash of PostgreSQL empties the tables.

Who is told of whom is a question of the rooms that they share: only rooms of few members count, since all members of a
room are told of all others.

Spec: https://spec.matrix.org/v1.19/client-server-api/#presence
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import asyncpg

from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.matrix.presence import UserPresence
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="presence",
        owner="services.presence",
        bound="one row an account, and one a user of another server of whom it speaks",
        reaper="erasure of the account; background.reap",
    ),
    TableContract(
        name="presence_devices",
        owner="services.presence",
        bound="one row a device that synced in the last day",
        reaper="background.reap",
    ),
)

PRESENCE_STREAM = "presence"
"""The commit log's stream for presence: of users whose own it is, and of facts that name users in a room."""

PRESENCE_COLUMNS = "p.user_id, p.presence, p.status_msg, p.last_active_ts"


def _read(codec: Codec, rows: Iterable[asyncpg.Record]) -> dict[UserId, UserPresence]:
    found = {}
    for row in rows:
        status = row["status_msg"]
        found[UserId(row["user_id"])] = UserPresence(
            user_id=UserId(row["user_id"]),
            presence=row["presence"],
            status_msg=None if status is None else codec.decode(status).decode(),
            last_active_ts=row["last_active_ts"],
        )
    return found


LOAD_PRESENCE = f"SELECT {PRESENCE_COLUMNS} FROM presence AS p WHERE p.user_id = ANY($1)"


async def load_presence(tx: Connection, codec: Codec, users: Collection[UserId]) -> dict[UserId, UserPresence]:
    """The presence of each of these users; `offline` where nothing is known."""
    known = _read(codec, await tx.fetch(LOAD_PRESENCE, list(users)))
    return {user_id: known.get(user_id) or UserPresence(user_id=user_id) for user_id in users}


PUT_PRESENCE = """
INSERT INTO presence AS p (user_id, presence, status_msg, last_active_ts, position, expires_ts)
SELECT user_id, presence, status_msg, last_active_ts, $5, $6
FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[]) AS new (user_id, presence, status_msg, last_active_ts)
ON CONFLICT (user_id) DO UPDATE
SET presence = excluded.presence, status_msg = excluded.status_msg, position = excluded.position,
    last_active_ts = greatest(p.last_active_ts, excluded.last_active_ts), expires_ts = excluded.expires_ts
"""


async def put_presence(
    tx: Connection, codec: Codec, changed: Sequence[UserPresence], position: int, *, expires_ts: int | None = None
) -> None:
    """Set what others are told of these users from now on. `expires_ts` is of users of other servers: until when it
    holds what their server has said."""
    await tx.execute(
        PUT_PRESENCE,
        [presence.user_id for presence in changed],
        [presence.presence for presence in changed],
        [None if p.status_msg is None else codec.encode(p.status_msg.encode()) for p in changed],
        [presence.last_active_ts for presence in changed],
        position,
        expires_ts,
    )


PROLONG_PRESENCE = "UPDATE presence SET expires_ts = $2 WHERE user_id = ANY($1) AND expires_ts IS NOT NULL"


async def prolong_presence(tx: Connection, users: Collection[UserId], *, expires_ts: int) -> None:
    """It holds longer what other servers have said of these users."""
    await tx.execute(PROLONG_PRESENCE, list(users), expires_ts)


FIND_SILENT = """
SELECT user_id FROM presence WHERE expires_ts <= $1 AND presence <> 'offline' ORDER BY expires_ts LIMIT $2
"""


async def find_silent(tx: Connection, *, expired_by: int, limit: int) -> list[UserId]:
    """Users of other servers who are said to be present, though that no longer holds."""
    return [UserId(row["user_id"]) for row in await tx.fetch(FIND_SILENT, expired_by, limit)]


PUT_ACTIVITY = """
UPDATE presence AS p SET last_active_ts = active.ts
FROM unnest($1::text[], $2::bigint[]) AS active (user_id, ts)
WHERE p.user_id = active.user_id AND p.last_active_ts < active.ts
"""


async def put_activity(tx: Connection, active: Mapping[UserId, int]) -> None:
    """Move forward when these users were last active, which is told to nobody before they ask."""
    await tx.execute(PUT_ACTIVITY, list(active), list(active.values()))


NOTE_DEVICES = """
WITH noted AS (SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) AS new (user_id, device_id, presence)),
before AS (
    SELECT d.user_id, d.device_id, d.presence FROM noted JOIN presence_devices AS d USING (user_id, device_id)
    WHERE d.synced_ts > $5
),
put AS (
    INSERT INTO presence_devices (user_id, device_id, presence, synced_ts)
    SELECT user_id, device_id, presence, $4 FROM noted
    ON CONFLICT (user_id, device_id) DO UPDATE SET presence = excluded.presence, synced_ts = excluded.synced_ts
)
SELECT user_id, device_id, presence FROM before
"""


async def note_devices(
    tx: Connection, notes: Mapping[tuple[UserId, str], str], *, now_ms: int, synced_after: int
) -> dict[tuple[UserId, str], str]:
    """Note what these devices say now; what each said before, where it has synced since `synced_after`."""
    keys = sorted(notes)  # one order for all, so that processes do not wait for each other in a circle
    rows = await tx.fetch(
        NOTE_DEVICES,
        [user_id for user_id, _ in keys],
        [device_id for _, device_id in keys],
        [notes[key] for key in keys],
        now_ms,
        synced_after,
    )
    return {(UserId(row["user_id"]), row["device_id"]): row["presence"] for row in rows}


LOAD_DEVICES = "SELECT user_id, device_id, presence FROM presence_devices WHERE user_id = ANY($1) AND synced_ts > $2"


async def load_devices(tx: Connection, users: Collection[UserId], *, synced_after: int) -> dict[UserId, dict[str, str]]:
    """What the devices of these users say that have synced since then, by device."""
    devices: dict[UserId, dict[str, str]] = {user_id: {} for user_id in users}
    for row in await tx.fetch(LOAD_DEVICES, list(users), synced_after):
        devices[UserId(row["user_id"])][row["device_id"]] = row["presence"]
    return devices


FIND_DUE = """
SELECT p.user_id FROM presence AS p
WHERE p.presence <> 'offline' AND p.expires_ts IS NULL AND (
    (p.presence = 'online' AND p.last_active_ts <= $1)
    OR (p.last_active_ts <= $2 AND NOT EXISTS (
        SELECT FROM presence_devices AS d WHERE d.user_id = p.user_id AND d.synced_ts > $2
    ))
)
LIMIT $3
"""
IS_ANYBODY_PRESENT = "SELECT EXISTS (SELECT FROM presence WHERE presence <> 'offline')"


async def find_due(tx: Connection, *, idle_by: int, gone_by: int, limit: int) -> list[UserId]:
    """Users of this server who are said to be online though not active since then, or present though nothing is heard
    of them."""
    return [UserId(row["user_id"]) for row in await tx.fetch(FIND_DUE, idle_by, gone_by, limit)]


async def is_anybody_present(tx: Connection) -> bool:
    """Whether anybody is not offline."""
    found: bool = await tx.fetchval(IS_ANYBODY_PRESENT)
    return found


DELETE_PRESENCE = "DELETE FROM presence WHERE user_id = $1"
DELETE_DEVICES_OF_USER = "DELETE FROM presence_devices WHERE user_id = $1"
REAP_DEVICES = """
DELETE FROM presence_devices WHERE synced_ts < extract(epoch FROM clock_timestamp()) * 1000 - 86400000
"""


async def delete_presence(tx: Connection, user_id: UserId) -> None:
    """Remove what is known of the user."""
    await tx.execute(DELETE_PRESENCE, user_id)
    await tx.execute(DELETE_DEVICES_OF_USER, user_id)


REAP_PRESENCE = """
DELETE FROM presence
WHERE presence = 'offline' AND expires_ts < extract(epoch FROM clock_timestamp()) * 1000 - 86400000
"""


async def reap(tx: Connection) -> None:
    """Remove devices that have not synced for a day, and users of other servers who have been offline for so long."""
    await tx.execute(REAP_DEVICES)
    await tx.execute(REAP_PRESENCE)


LOAD_ROOMS_TO_TELL = """
WITH small AS MATERIALIZED (
    SELECT wanted.room_nid FROM (
        SELECT DISTINCT room_nid FROM memberships WHERE user_id = ANY($1) AND membership = 'join'
    ) AS wanted
    WHERE NOT EXISTS (
        SELECT FROM memberships AS o WHERE o.room_nid = wanted.room_nid AND o.membership = 'join' OFFSET $2
    )
)
SELECT changed.user_id, m.room_nid
FROM unnest($1::text[]) AS changed (user_id)
CROSS JOIN LATERAL (
    SELECT small.room_nid FROM small
    JOIN memberships AS m ON m.user_id = changed.user_id AND m.room_nid = small.room_nid AND m.membership = 'join'
    LIMIT $3
) AS m
"""


async def load_rooms_to_tell(
    tx: Connection, users: Collection[UserId], *, members_max: int, rooms_max: int
) -> dict[UserId, list[int]]:
    """The rooms of at most `members_max` members that each of these users is in, at most `rooms_max` of them."""
    rooms: dict[UserId, list[int]] = {}
    for row in await tx.fetch(LOAD_ROOMS_TO_TELL, list(users), members_max, rooms_max):
        rooms.setdefault(UserId(row["user_id"]), []).append(row["room_nid"])
    return rooms


FIND_SMALL_ROOMS = """
SELECT wanted.room_nid FROM unnest($1::bigint[]) AS wanted (room_nid)
WHERE NOT EXISTS (
    SELECT FROM memberships AS o WHERE o.room_nid = wanted.room_nid AND o.membership = 'join' OFFSET $2
)
"""


async def find_small_rooms(tx: Connection, room_nids: Collection[int], *, members_max: int) -> set[int]:
    """Those of the rooms that have at most so many members."""
    return {row["room_nid"] for row in await tx.fetch(FIND_SMALL_ROOMS, list(room_nids), members_max)}


LOAD_PRESENT = f"""
WITH mine AS MATERIALIZED (
    SELECT m.room_nid FROM memberships AS m
    WHERE m.user_id = $1 AND m.membership = 'join' AND NOT EXISTS (
        SELECT FROM memberships AS o WHERE o.room_nid = m.room_nid AND o.membership = 'join' OFFSET $2
    )
),
told AS (
    SELECT o.user_id FROM mine JOIN memberships AS o ON o.room_nid = mine.room_nid AND o.membership = 'join'
    UNION SELECT $1
)
SELECT {PRESENCE_COLUMNS} FROM told JOIN presence AS p ON p.user_id = told.user_id
WHERE p.presence <> 'offline' ORDER BY p.position DESC LIMIT $3
"""


async def load_present(
    tx: Connection, codec: Codec, reader: UserId, *, members_max: int, limit: int
) -> list[UserPresence]:
    """Everybody who is not offline, the reader included, and shares a room of few members with the reader; at most
    `limit`, those whose presence changed last."""
    return list(_read(codec, await tx.fetch(LOAD_PRESENT, reader, members_max, limit)).values())


LOAD_CHANGED_PRESENCE = f"""
WITH mine AS MATERIALIZED (
    SELECT m.room_nid FROM memberships AS m
    WHERE m.user_id = $1 AND m.membership = 'join' AND NOT EXISTS (
        SELECT FROM memberships AS o WHERE o.room_nid = m.room_nid AND o.membership = 'join' OFFSET $2
    )
),
joined AS MATERIALIZED (
    SELECT DISTINCT h.room_nid, h.user_id FROM mine
    JOIN membership_history AS h ON h.room_nid = mine.room_nid AND h.position > $4 AND h.membership = 'join'
),
told AS (
    SELECT p.user_id FROM presence AS p
    WHERE p.position > $4 AND (p.user_id = $1 OR EXISTS (
        SELECT FROM memberships AS o JOIN mine ON mine.room_nid = o.room_nid
        WHERE o.user_id = p.user_id AND o.membership = 'join'
    ))
    UNION SELECT joined.user_id FROM joined
    UNION SELECT o.user_id FROM joined JOIN memberships AS o ON o.room_nid = joined.room_nid AND o.membership = 'join'
    WHERE joined.user_id = $1
)
SELECT {PRESENCE_COLUMNS} FROM told JOIN presence AS p ON p.user_id = told.user_id ORDER BY p.position DESC LIMIT $3
"""


async def load_changed_presence(
    tx: Connection, codec: Codec, reader: UserId, *, members_max: int, limit: int, after: int
) -> list[UserPresence]:
    """As `load_present`, of those whose presence changed after a position, and of those who have come to share a room
    with the reader since then; offline ones included, whom the reader may know as they were when they shared a room
    before."""
    rows = await tx.fetch(LOAD_CHANGED_PRESENCE, reader, members_max, limit, after)
    return list(_read(codec, rows).values())


LOAD_PRESENCE_IN_ROOMS = f"""
WITH told AS (
    SELECT m.user_id, bool_or(m.room_nid = ANY($3)) AS is_whole FROM memberships AS m
    WHERE m.room_nid = ANY($2) AND m.membership = 'join' AND m.server_name = $1 GROUP BY m.user_id
)
SELECT {PRESENCE_COLUMNS} FROM told JOIN presence AS p ON p.user_id = told.user_id
WHERE p.position > $4 OR (told.is_whole AND p.presence <> 'offline') ORDER BY p.position DESC LIMIT $5
"""


async def load_presence_in_rooms(
    tx: Connection,
    codec: Codec,
    server_name: ServerName,
    rooms: tuple[Collection[int], Collection[int]],
    *,
    after: int,
    limit: int,
) -> list[UserPresence]:
    """The users of a server in these rooms, of whom `rooms` are all, whose presence changed after a position; in the
    second of `rooms`, also all others who are there. At most `limit`, those whose presence changed last."""
    every, whole = rooms
    rows = await tx.fetch(LOAD_PRESENCE_IN_ROOMS, server_name, list(every), list(whole), after, limit)
    return list(_read(codec, rows).values())


FIND_ROOMS_WITH_PRESENCE = """
SELECT DISTINCT m.room_nid FROM presence AS p
JOIN memberships AS m ON m.user_id = p.user_id AND m.membership = 'join'
WHERE p.presence <> 'offline' AND p.expires_ts IS NULL
"""


async def find_rooms_with_presence(tx: Connection) -> list[int]:
    """The rooms in which users of this server are there."""
    return [row["room_nid"] for row in await tx.fetch(FIND_ROOMS_WITH_PRESENCE)]


SHARE_A_ROOM = """
SELECT EXISTS (
    SELECT FROM memberships AS a JOIN memberships AS b ON b.room_nid = a.room_nid AND b.membership = 'join'
    WHERE a.user_id = $1 AND a.membership = 'join' AND b.user_id = $2
)
"""


async def share_a_room(tx: Connection, one: UserId, other: UserId) -> bool:
    """Whether both users are joined to one room, of whatever size."""
    shared: bool = await tx.fetchval(SHARE_A_ROOM, one, other)
    return shared
