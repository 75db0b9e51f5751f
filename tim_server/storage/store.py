"""One tenant's storage, opened as a whole: reads, the writer, the commit log and what follows it."""

from dataclasses import dataclass

from tim_server.storage.codec import Codec
from tim_server.storage.commit_follower import CommitFollower
from tim_server.storage.commit_log import BYTES_MAX, ENTRIES_MAX, CommitLog
from tim_server.storage.database import Database, DatabaseOptions
from tim_server.storage.state import MEMBERS_MAX, SnapshotCache
from tim_server.storage.writer import Writer, WriterOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """How much is kept in memory: commits and bytes of their events in the log's tail, state events of snapshots."""

    commits_max: int = ENTRIES_MAX
    bytes_of_commits_max: int = BYTES_MAX
    snapshot_members_max: int = MEMBERS_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """What services are given of storage. `open_store` makes it; `close` commits what is queued first."""

    database: Database
    codec: Codec
    commit_log: CommitLog
    follower: CommitFollower
    writer: Writer
    snapshots: SnapshotCache

    async def close(self) -> None:
        """Commit what is queued, stop following, close the connections."""
        await self.writer.close()
        await self.follower.close()
        await self.database.close()


async def open_store(
    options: DatabaseOptions,
    codec: Codec,
    writer_options: WriterOptions | None = None,
    *,
    remembered: Remembered | None = None,
    alone: bool = False,
) -> Store:
    """Open the storage of a migrated schema; raises OSError or `DatabaseError` where PostgreSQL can't be reached.

    `alone` says that no other process writes this schema, so that the commit log's tail is never behind.
    """
    remembered = remembered or Remembered()
    database = Database(options)
    await database.open()
    commit_log = CommitLog(entries_max=remembered.commits_max, bytes_max=remembered.bytes_of_commits_max)
    follower = CommitFollower(database, codec, commit_log, alone=alone)
    writer = Writer(database, codec, writer_options)
    snapshots = SnapshotCache(members_max=remembered.snapshot_members_max)
    writer.on_commit = follower.committed
    writer.on_reconnect = follower.look
    writer.incarnations.on_restart = commit_log.start_at
    follower.on_trimmed = writer.incarnations.start_anew
    writer.on_restored.append(snapshots.clear)
    await writer.start()
    await follower.start()
    return Store(
        database=database, codec=codec, commit_log=commit_log, follower=follower, writer=writer, snapshots=snapshots
    )
