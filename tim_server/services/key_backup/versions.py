"""Versions of a user's key backup.

Spec: https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups
"""

import re
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import InvalidParam, NotFound, TooLarge
from tim_server.matrix.identifiers import ID_BYTES_MAX, UserId
from tim_server.services.json_values import encode_json
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, Database
from tim_server.storage.key_backups import (
    VERSIONS_MAX,
    BackupVersion,
    add_version,
    count_versions,
    delete_version,
    find_current_version,
    find_version,
    set_auth_data,
)
from tim_server.storage.writer import Writer

AUTH_DATA_BYTES_MAX = 65_536

_VERSION = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupVersions:
    """Makes, reads, changes and deletes versions; the newest that is not deleted is the current one."""

    database: Database
    writer: Writer
    codec: Codec

    async def create(self, user_id: UserId, algorithm: str, auth_data: Any) -> str:
        """A new version, which is the current one from now on. Raises `TooLarge` for too many of them."""
        if not 0 < len(algorithm.encode()) <= ID_BYTES_MAX:
            raise InvalidParam(f"The algorithm must have 1 to {ID_BYTES_MAX} bytes")
        create = _Create(users=(user_id,), algorithm=algorithm, auth_data=self._encode(auth_data))
        return str(await self.writer.write(create))

    async def current(self, user_id: UserId) -> BackupVersion:
        """The current version; raises `NotFound`."""
        async with self.database.connection() as connection:
            found = await find_current_version(connection, self.codec, user_id)
        return _known(found)

    async def get(self, user_id: UserId, version: str) -> BackupVersion:
        """A version; raises `NotFound`, also for one that was deleted."""
        async with self.database.connection() as connection:
            return await find_backup(connection, self.codec, user_id, version)

    async def update(
        self, user_id: UserId, version: str, *, algorithm: str, auth_data: Any, version_in_body: str | None
    ) -> None:
        """Replace a version's `auth_data`; raises `NotFound`, and `InvalidParam` where anything else is to change."""
        if version_in_body is not None and version_in_body != version:
            raise InvalidParam("The version in the body is not that of the path")
        encoded = self._encode(auth_data)
        found = await self.get(user_id, version)
        if found.algorithm != algorithm:
            raise InvalidParam("The algorithm of a backup can't be changed")
        await self.writer.write(_Update(users=(user_id,), version=found.version, auth_data=encoded))

    async def delete(self, user_id: UserId, version: str) -> None:
        """Delete a version with its keys; one that was deleted before may be deleted again. Raises `NotFound`."""
        number = parse_version(version)
        async with self.database.connection() as connection:
            found = None if number is None else await find_version(connection, self.codec, user_id, number)
        if found is None:
            raise NotFound("There is no such backup")
        if found.auth_data is not None:
            await self.writer.write(_Delete(users=(user_id,), version=found.version))

    def _encode(self, auth_data: Any) -> bytes:
        encoded = encode_json(auth_data)
        if len(encoded) > AUTH_DATA_BYTES_MAX:
            raise TooLarge(f"auth_data must have at most {AUTH_DATA_BYTES_MAX} bytes")
        return self.codec.encode(encoded)


def parse_version(version: str) -> int | None:
    """The number of a version; None for what names none."""
    return int(version) if _VERSION.fullmatch(version) else None


async def find_backup(tx: Connection, codec: Codec, user_id: UserId, version: str) -> BackupVersion:
    """A version that is not deleted; raises `NotFound`."""
    number = parse_version(version)
    return _known(None if number is None else await find_version(tx, codec, user_id, number))


def _known(found: BackupVersion | None) -> BackupVersion:
    if found is None or found.auth_data is None:
        raise NotFound("There is no such backup")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Create:
    users: tuple[UserId, ...]
    algorithm: str
    auth_data: bytes
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> int:
        if await count_versions(tx, self.users[0]) >= VERSIONS_MAX:
            raise TooLarge("There are too many backups; delete some")
        return await add_version(
            tx, self.users[0], algorithm=self.algorithm, stored_auth_data=self.auth_data, position=position
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Update:
    users: tuple[UserId, ...]
    version: int
    auth_data: bytes
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        await set_auth_data(tx, self.users[0], self.version, self.auth_data)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Delete:
    users: tuple[UserId, ...]
    version: int
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        await delete_version(tx, self.users[0], self.version)
