"""Keys of sessions in a user's key backup.

Spec: https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tim_server.matrix.end_to_end.errors import WrongRoomKeysVersion
from tim_server.matrix.errors import InvalidParam, NotFound, TooLarge
from tim_server.matrix.identifiers import ID_BYTES_MAX, UserId
from tim_server.services.key_backup.versions import find_backup
from tim_server.services.turns import in_turns
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, Database
from tim_server.storage.key_backups import (
    BackupKey,
    BackupPart,
    BackupVersion,
    count_changes,
    delete_keys,
    find_current_version,
    find_version,
    load_keys,
    put_keys,
)
from tim_server.storage.writer import Writer

SESSION_DATA_BYTES_MAX = 4_096
"""Those of clients have about 1,000; a whole backup is read into memory, so that this bounds what one answer takes."""
DELETED_PER_COMMIT_MAX = 5_000
KEYS_PER_TURN = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupState:
    """How many keys a backup holds, and what changes with each change of them."""

    count: int
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedPart:
    """A part of a backup as a request names it: of a version a room, or a session of it, or all."""

    version: str
    room_id: str | None = None
    session_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupKeys:
    """Stores keys in the current version, and reads and deletes those of any."""

    database: Database
    writer: Writer
    codec: Codec
    keys_max: int

    async def put(self, user_id: UserId, version: str, keys: Sequence[BackupKey]) -> BackupState:
        """Store keys where they are better than those that the backup has.

        Raises `NotFound` where there is no backup, `WrongRoomKeysVersion` for one that is not the current,
        `InvalidParam` and `TooLarge`.
        """
        for key in keys:
            if max(len(key.room_id.encode()), len(key.session_id.encode())) > ID_BYTES_MAX:
                raise InvalidParam(f"The IDs of rooms and sessions must have at most {ID_BYTES_MAX} bytes")
            if len(key.session_data) > SESSION_DATA_BYTES_MAX:
                raise TooLarge(f"session_data must have at most {SESSION_DATA_BYTES_MAX} bytes")
        put = _Put(users=(user_id,), codec=self.codec, version=version, keys=tuple(keys), keys_max=self.keys_max)
        return await self.writer.write(put)

    async def get(self, user_id: UserId, part: WantedPart) -> dict[str, dict[str, bytes]]:
        """The keys of the part, perhaps none: JSON by room and session. Raises `NotFound` for a backup that there is
        not."""
        async with self.database.read() as tx:
            found = await find_backup(tx, self.codec, user_id, part.version)
            keys = await load_keys(tx, _part(user_id, found, part))
        by_room: dict[str, dict[str, bytes]] = {}
        async for key in in_turns(keys, per_turn=KEYS_PER_TURN):
            by_room.setdefault(key.room_id, {})[key.session_id] = self._key_json(key)
        return by_room

    def _key_json(self, key: BackupKey) -> bytes:
        return b'{"first_message_index":%d,"forwarded_count":%d,"is_verified":%b,"session_data":%b}' % (
            key.first_message_index,
            key.forwarded_count,
            b"true" if key.is_verified else b"false",
            self.codec.decode(key.session_data),
        )

    async def delete(self, user_id: UserId, part: WantedPart) -> BackupState:
        """Remove the keys of the part; many of them in several commits. Raises `NotFound`."""
        async with self.database.connection() as connection:
            found = await find_backup(connection, self.codec, user_id, part.version)
        while True:
            removal = _Delete(users=(user_id,), codec=self.codec, part=_part(user_id, found, part))
            removed, state = await self.writer.write(removal)
            if removed < DELETED_PER_COMMIT_MAX:
                return state


def _part(user_id: UserId, version: BackupVersion, part: WantedPart) -> BackupPart:
    return BackupPart(user_id, version.version, part.room_id, part.session_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Put:
    users: tuple[UserId, ...]
    codec: Codec
    version: str
    keys: tuple[BackupKey, ...]
    keys_max: int
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> BackupState:
        user_id = self.users[0]
        current = await find_current_version(tx, self.codec, user_id)
        if current is None:
            raise NotFound("There is no backup")
        if str(current.version) != self.version:
            raise WrongRoomKeysVersion(current_version=str(current.version))
        added, replaced = await put_keys(tx, self.codec, user_id, current.version, self.keys)
        count, etag = current.key_count, current.etag
        if added + replaced:
            count, etag = await count_changes(tx, user_id, current.version, more=added, position=position)
        if added and count > self.keys_max:
            raise TooLarge(f"A backup can hold at most {self.keys_max} keys")
        return BackupState(count=count, etag=str(etag))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Delete:
    users: tuple[UserId, ...]
    codec: Codec
    part: BackupPart
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> tuple[int, BackupState]:
        user_id, version = self.users[0], self.part.version
        found = await find_version(tx, self.codec, user_id, version)
        if found is None or found.auth_data is None:
            raise NotFound("There is no such backup")
        removed = await delete_keys(tx, self.part, limit=DELETED_PER_COMMIT_MAX)
        count, etag = found.key_count, found.etag
        if removed:
            count, etag = await count_changes(tx, user_id, version, more=-removed, position=position)
        return removed, BackupState(count=count, etag=str(etag))
