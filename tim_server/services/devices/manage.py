"""Devices of a user: list them, rename them, remove them.

Spec: https://spec.matrix.org/v1.19/client-server-api/#device-management
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tim_server.matrix.errors import Forbidden, NotFound, TooLarge
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.open_session import DEVICES, seal_device_name
from tim_server.services.accounts.policy import Clock
from tim_server.services.accounts.requester import Requester
from tim_server.services.accounts.token_cache import TOKENS, TokenCache
from tim_server.services.accounts.uia import PASSWORD, InteractiveAuth, Operation
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import Fact
from tim_server.storage.database import Connection, Database
from tim_server.storage.device_lists import mark_changed
from tim_server.storage.device_removal import remove_devices
from tim_server.storage.devices import Device, find_device, list_devices, rename_device
from tim_server.storage.uia_sessions import consume_session
from tim_server.storage.writer import Writer

OPERATION = "delete_devices"
DEVICES_PER_REQUEST_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceManagement:
    """What users do with their own devices."""

    database: Database
    writer: Writer
    codec: Codec
    token_cache: TokenCache
    clock: Clock
    uia: InteractiveAuth

    async def list(self, requester: Requester) -> Sequence[Device]:
        """All devices of the requester, by device id."""
        async with self.database.connection() as connection:
            return await list_devices(connection, self.codec, requester.user_id)

    async def get(self, requester: Requester, device_id: str) -> Device:
        """One device; raises `NotFound` where the requester has no such device."""
        async with self.database.connection() as connection:
            device = await find_device(connection, self.codec, requester.user_id, device_id)
        if device is None:
            raise NotFound("There is no such device")
        return device

    async def rename(self, requester: Requester, device_id: str, display_name: str | None) -> None:
        """Set the display name, if one is given; raises `NotFound`, and `InvalidParam` for one that is too long."""
        if display_name is None:
            await self.get(requester, device_id)
            return
        sealed_name = seal_device_name(display_name, self.codec)
        await self.writer.write(_Rename(users=(requester.user_id,), device_id=device_id, sealed_name=sealed_name))

    async def remove(self, requester: Requester, device_ids: Sequence[str], auth: Mapping[str, Any] | None) -> None:
        """Remove devices, with their tokens and keys, once the password was given. Those that are not there count as
        removed. Raises `InteractiveAuthRequired` and `TooLarge`."""
        if len(device_ids) > DEVICES_PER_REQUEST_MAX:
            raise TooLarge(f"At most {DEVICES_PER_REQUEST_MAX} devices can be removed at once")
        operation = Operation(name=_operation_of(device_ids), flows=((PASSWORD,),), user_id=requester.user_id)
        uia_session = await self.uia.authenticate(operation, auth)
        await self.writer.write(
            _Remove(users=(requester.user_id,), device_ids=tuple(device_ids), uia_session=uia_session, now=self.clock())
        )
        self.token_cache.drop_user(requester.user_id)


def _operation_of(device_ids: Sequence[str]) -> str:
    """What was authenticated for some devices does not do for others."""
    return f"{OPERATION} {hashlib.sha256(repr(sorted(device_ids)).encode()).hexdigest()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rename:
    users: tuple[UserId, ...]
    device_id: str
    sealed_name: bytes
    streams: tuple[str, ...] = (DEVICES,)
    facts: list[Fact] = field(default_factory=list)

    async def store(self, tx: Connection, position: int) -> None:
        if not await rename_device(tx, self.users[0], self.device_id, self.sealed_name):
            raise NotFound("There is no such device")
        self.facts[:] = await mark_changed(tx, self.users[0], position, self.device_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remove:
    users: tuple[UserId, ...]
    device_ids: tuple[str, ...]
    uia_session: str | None
    now: int
    streams: tuple[str, ...] = (TOKENS, DEVICES)
    facts: list[Fact] = field(default_factory=list)

    async def store(self, tx: Connection, position: int) -> None:
        if self.uia_session is not None and not await consume_session(tx, self.uia_session, now=self.now):
            raise Forbidden("The authentication has been used already")
        self.facts[:] = await remove_devices(tx, self.users[0], self.device_ids, position)
