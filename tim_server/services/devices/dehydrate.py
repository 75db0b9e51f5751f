"""Dehydrated devices: a device without a session, which receives keys of rooms while its user has no other device.

A client that logs in later brings it back to life with the key that secret storage holds, and takes the keys out of the
messages that have come meanwhile. Nothing of it is removed until it is replaced or deleted, so that this may be tried
again.

Spec: https://github.com/matrix-org/matrix-spec-proposals/pull/3814
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tim_server.matrix.end_to_end.device_keys import read_device_keys
from tim_server.matrix.end_to_end.one_time_keys import OneTimeKey, read_fallback_keys, read_one_time_keys
from tim_server.matrix.end_to_end.signed_objects import encode_object
from tim_server.matrix.errors import Forbidden, InvalidParam, NotFound, TooLarge
from tim_server.matrix.identifiers import ID_BYTES_MAX, UserId
from tim_server.services.accounts.open_session import DEVICES, seal_device_name
from tim_server.services.accounts.policy import Clock
from tim_server.services.json_values import encode_json
from tim_server.services.keys.upload import FALLBACK_ALGORITHMS_MAX, UNCLAIMED_MAX, PublishedKeys
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import Fact
from tim_server.storage.cross_signing_keys import has_public_key
from tim_server.storage.database import Connection, Database
from tim_server.storage.dehydrated_devices import DehydratedDevice, find_dehydrated_device, put_dehydrated_device
from tim_server.storage.device_keys import put_device_keys
from tim_server.storage.device_lists import mark_changed
from tim_server.storage.device_removal import remove_devices
from tim_server.storage.devices import upsert_device
from tim_server.storage.one_time_keys import add_one_time_keys, put_fallback_keys
from tim_server.storage.to_device import MessagePlace, load_messages
from tim_server.storage.writer import Writer

DEVICE_DATA_BYTES_MAX = 131_072
EVENTS_PER_PAGE_MAX = 100

_POSITION_MAX = 2**63 - 1
_TOKEN = re.compile(r"d([0-9]{1,18})\.([0-9]{1,18})")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceToDehydrate:
    """What a client uploads, as it was given."""

    device_id: str
    device_data: Mapping[str, Any]
    keys: PublishedKeys
    display_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsPage:
    """Messages to the device as JSON, oldest first, and the token of those after them."""

    events: Sequence[bytes]
    next_batch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceDehydration:
    """Keeps at most one such device for each user."""

    database: Database
    writer: Writer
    codec: Codec
    clock: Clock

    async def put(self, user_id: UserId, device: DeviceToDehydrate) -> None:
        """Make a device; it takes the place of the one that there was. Raises `InvalidParam` for the id of another
        device, and what the form of its keys deserves."""
        if not 0 < len(device.device_id.encode()) <= ID_BYTES_MAX:
            raise InvalidParam(f"The device ID must have 1 to {ID_BYTES_MAX} bytes")
        device_data = encode_json(device.device_data)
        if len(device_data) > DEVICE_DATA_BYTES_MAX:
            raise TooLarge(f"device_data must have at most {DEVICE_DATA_BYTES_MAX} bytes")
        one_time_keys = read_one_time_keys(device.keys.one_time_keys or {})
        fallback_keys = read_fallback_keys(device.keys.fallback_keys or {})
        if len(one_time_keys) > UNCLAIMED_MAX or len(fallback_keys) > FALLBACK_ALGORITHMS_MAX:
            raise TooLarge("The device has too many keys")
        await self.writer.write(
            _Put(
                users=(user_id,),
                codec=self.codec,
                device=DehydratedDevice(device.device_id, device_data),
                sealed_name=None if device.display_name is None else seal_device_name(device.display_name, self.codec),
                device_keys=encode_object(read_device_keys(device.keys.device_keys or {}, user_id, device.device_id)),
                one_time_keys=one_time_keys,
                fallback_keys=fallback_keys,
                now=self.clock(),
            )
        )

    async def get(self, user_id: UserId) -> DehydratedDevice:
        """The user's dehydrated device; raises `NotFound`."""
        async with self.database.connection() as connection:
            device = await find_dehydrated_device(connection, self.codec, user_id)
        if device is None:
            raise NotFound("There is no dehydrated device")
        return device

    async def delete(self, user_id: UserId) -> str:
        """Remove it; the id of the device. Raises `NotFound`."""
        device_id = (await self.get(user_id)).device_id
        await self.writer.write(_Delete(users=(user_id,), device_id=device_id))
        return device_id

    async def events(self, user_id: UserId, device_id: str, next_batch: str | None) -> EventsPage:
        """A page of the messages to the device. Raises `Forbidden` for any other device."""
        after = _parse(next_batch)
        if (await self.get(user_id)).device_id != device_id:
            raise Forbidden("This is not the dehydrated device")
        async with self.database.connection() as connection:
            found = await load_messages(
                connection,
                self.codec,
                (user_id, device_id),
                after=after,
                up_to=_POSITION_MAX,
                limit=EVENTS_PER_PAGE_MAX,
            )
        last = found[-1].place if found else after
        return EventsPage(events=[each.message for each in found], next_batch=f"d{last.position}.{last.number}")


def _parse(next_batch: str | None) -> MessagePlace:
    if next_batch is None:
        return MessagePlace(0, 0)
    match = _TOKEN.fullmatch(next_batch)
    if match is None:
        raise InvalidParam("next_batch: not a token of this server")
    return MessagePlace(int(match[1]), int(match[2]))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Put:
    users: tuple[UserId, ...]
    codec: Codec
    device: DehydratedDevice
    sealed_name: bytes | None
    device_keys: bytes
    one_time_keys: tuple[OneTimeKey, ...]
    fallback_keys: tuple[OneTimeKey, ...]
    now: int
    streams: tuple[str, ...] = (DEVICES,)
    facts: list[Fact] = field(default_factory=list)

    async def store(self, tx: Connection, position: int) -> None:
        user_id, device_id = self.users[0], self.device.device_id
        before = await find_dehydrated_device(tx, self.codec, user_id)
        if before is not None:
            await remove_devices(tx, user_id, [before.device_id], position)
        if await has_public_key(tx, user_id, [device_id]):
            raise InvalidParam("The device ID is the public part of a cross-signing key")
        if not await upsert_device(tx, user_id, device_id, sealed_name=self.sealed_name, now=self.now):
            raise InvalidParam("There is another device of this ID")
        owner = user_id, device_id
        await put_dehydrated_device(tx, self.codec, user_id, self.device)
        await put_device_keys(tx, self.codec, user_id, {device_id: self.device_keys})
        await add_one_time_keys(tx, self.codec, owner, self.one_time_keys, position=position)
        await put_fallback_keys(tx, self.codec, owner, self.fallback_keys, position=position)
        self.facts[:] = await mark_changed(tx, user_id, position, device_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Delete:
    users: tuple[UserId, ...]
    device_id: str
    streams: tuple[str, ...] = (DEVICES,)
    facts: list[Fact] = field(default_factory=list)

    async def store(self, tx: Connection, position: int) -> None:
        self.facts[:] = await remove_devices(tx, self.users[0], [self.device_id], position)
