"""Deletions of rooms: what an administrator has asked for, and how far it is. Not derived.

`status` names what is done next: local users leave (`leaving`), other servers are told so (`telling`), what is stored
of the room is removed (`purging`), then the files that nothing refers to any more (`sifting`); or `complete`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from tim_server.matrix.identifiers import RoomAlias, RoomId, ServerName, UserId
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="room_deletions",
        owner="services.rooms.deletion",
        bound="one row a deletion by an administrator within a month",
        reaper="storage.former_rooms.forget_some",
    ),
)

Status: TypeAlias = Literal["leaving", "telling", "purging", "sifting", "complete"]

LEFT_USERS_MAX = 1_000
"""How many of those who were made to leave are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A deletion. Times are milliseconds; `problem` is why the last attempt at its next step failed; `left_users` are
    at most `LEFT_USERS_MAX` of `left_count`."""

    nid: int
    delete_id: str
    room_id: RoomId
    room_nid: int | None
    requested_by: UserId
    purges: bool
    keeps_files: bool
    status: Status
    requested_ts: int
    attempts: int
    problem: str | None
    position: int | None
    told_until_ts: int | None
    walked_user: str
    left_users: Sequence[UserId]
    left_count: int
    aliases: Sequence[RoomAlias]
    events_deleted: int
    files_deleted: int
    sifted_events: int
    finished_ts: int | None


COLUMNS = (
    "nid, delete_id, room_id, room_nid, requested_by, purges, keeps_files, status, requested_ts, attempts, problem, "
    "position, told_until_ts, walked_user, left_users, left_count, aliases, events_deleted, files_deleted, "
    "sifted_events, finished_ts"
)

INSERT_DELETION = """
INSERT INTO room_deletions (delete_id, room_id, room_nid, requested_by, purges, status, requested_ts, due_ts, aliases,
                            begun_position, keeps_files)
VALUES ($1, $2, $3, $4, $5, 'leaving', $6, $6, $7, $8, $9)
ON CONFLICT (room_id) WHERE finished_ts IS NULL DO NOTHING
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDeletion:
    """A deletion that begins."""

    delete_id: str
    room_id: RoomId
    requested_by: UserId
    purges: bool
    keeps_files: bool
    requested_ts: int
    begun_position: int
    room_nid: int | None
    aliases: Sequence[RoomAlias]


async def insert_deletion(tx: Connection, new: NewDeletion) -> bool:
    """Begin a deletion; False where one of the room has not ended yet."""
    status: str = await tx.execute(
        INSERT_DELETION,
        new.delete_id,
        new.room_id,
        new.room_nid,
        new.requested_by,
        new.purges,
        new.requested_ts,
        new.aliases,
        new.begun_position,
        new.keeps_files,
    )
    return status.endswith(" 1")


LOAD_DUE = f"SELECT {COLUMNS} FROM room_deletions WHERE finished_ts IS NULL AND due_ts <= $1 ORDER BY due_ts LIMIT $2"


async def load_due(tx: Connection, now: int, *, limit: int) -> list[Deletion]:
    """Deletions of which a step is due, those that wait for longest first."""
    return [_read(row) for row in await tx.fetch(LOAD_DUE, now, limit)]


FIND_DELETION = f"SELECT {COLUMNS} FROM room_deletions WHERE delete_id = $1"


async def find_deletion(tx: Connection, delete_id: str) -> Deletion | None:
    """The deletion of this id."""
    row = await tx.fetchrow(FIND_DELETION, delete_id)
    return None if row is None else _read(row)


LIST_DELETIONS = f"""
SELECT {COLUMNS} FROM room_deletions
WHERE ($1::text IS NULL OR room_id = $1) AND ($2::bigint IS NULL OR nid < $2) ORDER BY nid DESC LIMIT $3
"""


async def list_deletions(
    tx: Connection, *, room_id: RoomId | None = None, before: int | None = None, limit: int
) -> list[Deletion]:
    """Deletions, the newest first."""
    return [_read(row) for row in await tx.fetch(LIST_DELETIONS, room_id, before, limit)]


NOTE_LEFT = """
WITH those AS (
    SELECT m.user_id FROM room_deletions AS d JOIN memberships AS m ON m.room_nid = d.room_nid
    WHERE d.nid = $1 AND m.server_name = $2 AND m.membership = 'leave' AND m.position > d.begun_position
)
UPDATE room_deletions
SET left_users = ARRAY(SELECT user_id FROM those ORDER BY user_id LIMIT $3), problem = NULL,
    left_count = (SELECT count(*) FROM those)
WHERE nid = $1
"""


async def note_left(tx: Connection, nid: int, server_name: ServerName) -> None:
    """Note which users of the server have left since the deletion was asked for."""
    await tx.execute(NOTE_LEFT, nid, server_name, LEFT_USERS_MAX)


NOTE_ATTEMPT = "UPDATE room_deletions SET attempts = attempts + 1, due_ts = $2, problem = $3 WHERE nid = $1"


async def note_attempt(tx: Connection, nid: int, *, due_ts: int, problem: str | None) -> None:
    """A step was taken in vain, or has to wait, and is due again at a time."""
    await tx.execute(NOTE_ATTEMPT, nid, due_ts, problem)


ALL_HAVE_LEFT = """
UPDATE room_deletions
SET status = 'telling', attempts = 0, problem = NULL, due_ts = $2, position = $3, told_until_ts = $4 WHERE nid = $1
"""


async def note_all_left(tx: Connection, nid: int, *, now: int, position: int, told_until_ts: int) -> None:
    """Nobody of this server is in the room any more, at this position of the clock."""
    await tx.execute(ALL_HAVE_LEFT, nid, now, position, told_until_ts)


ADVANCE = "UPDATE room_deletions SET status = $2, attempts = 0, problem = NULL, due_ts = $3 WHERE nid = $1"


async def advance(tx: Connection, nid: int, status: Status, *, now: int) -> None:
    """Go on with what comes next."""
    await tx.execute(ADVANCE, nid, status, now)


NOTE_PURGED = """
UPDATE room_deletions SET events_deleted = events_deleted + $2, walked_user = $3, attempts = 0, problem = NULL
WHERE nid = $1
"""


async def note_purged(tx: Connection, nid: int, *, events: int, walked_user: str) -> None:
    """So many events more are gone, and what users had of the room up to this one."""
    await tx.execute(NOTE_PURGED, nid, events, walked_user)


FINISH = """
UPDATE room_deletions SET status = 'complete', problem = NULL, finished_ts = $2
WHERE nid = $1 AND finished_ts IS NULL
"""


async def finish(tx: Connection, nid: int, *, now: int) -> bool:
    """All is done; False where that was known."""
    status: str = await tx.execute(FINISH, nid, now)
    return status.endswith(" 1")


def _read(row: Any) -> Deletion:
    fields = dict(row.items())
    fields["room_id"] = RoomId(fields["room_id"])
    fields["requested_by"] = UserId(fields["requested_by"])
    fields["left_users"] = [UserId(user_id) for user_id in fields["left_users"]]
    fields["aliases"] = [RoomAlias(alias) for alias in fields["aliases"]]
    return Deletion(**fields)
