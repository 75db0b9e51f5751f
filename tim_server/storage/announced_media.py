"""Media ids that users have created and not uploaded anything to yet. Not derived from the event log.

Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixmediav1create
"""

from dataclasses import dataclass

from tim_server.matrix.identifiers import MediaId, UserId
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="announced_media",
        owner="services.media.announce",
        bound="limits.announced_files_per_user_max for each user",
        reaper="the upload; storage.announced_media.reap",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """A media id that waits for its file until `expires_ts`."""

    media_id: MediaId
    user_id: UserId
    expires_ts: int


COUNT_ANNOUNCED = "SELECT count(*) FROM announced_media WHERE user_id = $1 AND expires_ts > $2"


async def count_announced(tx: Connection, user_id: UserId, *, now: int) -> int:
    """How many ids of the user wait for a file."""
    return int(await tx.fetchval(COUNT_ANNOUNCED, user_id, now))


INSERT_ANNOUNCEMENT = "INSERT INTO announced_media (media_id, user_id, expires_ts) VALUES ($1, $2, $3)"


async def insert_announcement(tx: Connection, announcement: Announcement) -> None:
    """Announce a file."""
    await tx.execute(INSERT_ANNOUNCEMENT, announcement.media_id, announcement.user_id, announcement.expires_ts)


FIND_ANNOUNCEMENT = "SELECT user_id, expires_ts FROM announced_media WHERE media_id = $1 AND expires_ts > $2"


async def find_announcement(tx: Connection, media_id: MediaId, *, now: int) -> Announcement | None:
    """The announcement, unless it has expired."""
    row = await tx.fetchrow(FIND_ANNOUNCEMENT, media_id, now)
    if row is None:
        return None
    return Announcement(media_id=media_id, user_id=UserId(row["user_id"]), expires_ts=row["expires_ts"])


DELETE_ANNOUNCEMENT = "DELETE FROM announced_media WHERE media_id = $1"


async def delete_announcement(tx: Connection, media_id: MediaId) -> None:
    """The file is there."""
    await tx.execute(DELETE_ANNOUNCEMENT, media_id)


REAP = "DELETE FROM announced_media WHERE expires_ts <= (extract(epoch FROM now()) * 1000)::bigint"


async def reap(tx: Connection) -> None:
    """Remove announcements that have expired."""
    await tx.execute(REAP)
