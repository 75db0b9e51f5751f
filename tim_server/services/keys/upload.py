"""Publish the keys of a device: its identity, one-time keys, fallback keys.

Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysupload
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tim_server.matrix.end_to_end.device_keys import DEVICE_KEYS_BYTES_MAX, read_device_keys
from tim_server.matrix.end_to_end.one_time_keys import OneTimeKey, read_fallback_keys, read_one_time_keys
from tim_server.matrix.end_to_end.signed_objects import encode_object, signed_part
from tim_server.matrix.errors import InvalidParam, TooLarge, UnknownToken
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.open_session import DEVICES
from tim_server.services.accounts.requester import Requester
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import Fact
from tim_server.storage.database import Connection, Database
from tim_server.storage.device_keys import load_keys_of_device, put_device_keys
from tim_server.storage.device_lists import mark_changed
from tim_server.storage.devices import has_device
from tim_server.storage.one_time_keys import (
    KeyCounts,
    add_one_time_keys,
    delete_keys_for_claims,
    has_other_keys,
    load_key_counts,
    put_fallback_keys,
)
from tim_server.storage.writer import Writer

ONE_TIME_KEYS = "one_time_keys"
"""The commit log's stream for what changes which one-time keys and unused fallback keys a user's devices have."""

UNCLAIMED_MAX = 1_000
FALLBACK_ALGORITHMS_MAX = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedKeys:
    """What a client uploads, as it was given; None for what it did not give."""

    device_keys: Mapping[str, Any] | None = None
    one_time_keys: Mapping[str, Any] | None = None
    fallback_keys: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUpload:
    """Takes uploads; each as a whole or not at all."""

    database: Database
    writer: Writer
    codec: Codec

    async def upload(self, requester: Requester, keys: PublishedKeys) -> Mapping[str, int]:
        """How many unclaimed one-time keys the device has then, by algorithm. Keys that it has already are no error.

        Raises `BadJson`, `InvalidParam`, `InvalidSignature` and `TooLarge` for keys that can't be taken, also for
        another one-time key of the same name as one that is unclaimed.
        """
        owner = requester.user_id, device_of(requester)
        device_keys = None if keys.device_keys is None else read_device_keys(keys.device_keys, *owner)
        one_time_keys = read_one_time_keys(keys.one_time_keys or {})
        if len(one_time_keys) > UNCLAIMED_MAX:
            raise TooLarge(f"A device can have at most {UNCLAIMED_MAX} one-time keys")
        upload = _Upload(
            users=(requester.user_id,),
            codec=self.codec,
            device_id=owner[1],
            device_keys=device_keys,
            one_time_keys=one_time_keys,
            fallback_keys=read_fallback_keys(keys.fallback_keys or {}),
            streams=(ONE_TIME_KEYS,) if device_keys is None else (ONE_TIME_KEYS, DEVICES),
        )
        if upload.is_empty:
            async with self.database.connection() as connection:
                counts = await load_key_counts(connection, *owner)
        else:
            counts = await self.writer.write(upload)
        return counts.one_time_keys


def device_of(requester: Requester) -> str:
    """The requester's device; raises `InvalidParam` for a token without one."""
    if requester.device_id is None:
        raise InvalidParam("The access token belongs to no device")
    return requester.device_id


@dataclass(frozen=True, slots=True, kw_only=True)
class _Upload:
    users: tuple[UserId, ...]
    codec: Codec
    device_id: str
    device_keys: dict[str, Any] | None
    one_time_keys: tuple[OneTimeKey, ...]
    fallback_keys: tuple[OneTimeKey, ...]
    streams: tuple[str, ...]
    facts: list[Fact] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return self.device_keys is None and not self.one_time_keys and not self.fallback_keys

    async def store(self, tx: Connection, position: int) -> KeyCounts:
        owner = self.users[0], self.device_id
        if not await has_device(tx, *owner):
            raise UnknownToken("The device has been removed")
        self.facts[:] = await self._store_device_keys(tx, position)
        if self.one_time_keys:
            if await has_other_keys(tx, *owner, self.one_time_keys):
                raise InvalidParam("The device has another one-time key of the same name")
            await add_one_time_keys(tx, self.codec, owner, self.one_time_keys, position=position)
        if self.fallback_keys:
            await put_fallback_keys(tx, self.codec, owner, self.fallback_keys, position=position)
        counts = await load_key_counts(tx, *owner)
        if sum(counts.one_time_keys.values()) > UNCLAIMED_MAX or counts.fallback_keys > FALLBACK_ALGORITHMS_MAX:
            raise TooLarge("The device has too many keys")
        return counts

    async def _store_device_keys(self, tx: Connection, position: int) -> list[Fact]:
        """Set the device's identity, unless it is what it was. Signatures made since it was first uploaded stay; keys
        for claims go where the identity that they belong to is replaced."""
        if self.device_keys is None:
            return []
        user_id = self.users[0]
        stored = await load_keys_of_device(tx, self.codec, user_id, self.device_id)
        new = self.device_keys
        if stored is not None:
            old = orjson.loads(stored)
            if signed_part(old) == signed_part(new):
                signatures = old["signatures"][user_id] | new["signatures"][user_id]
                new = {**new, "signatures": {str(user_id): signatures}}
                if new == old:
                    return []
            elif old["keys"] != new["keys"]:
                await delete_keys_for_claims(tx, user_id, [self.device_id])
        encoded = encode_object(new)
        if len(encoded) > DEVICE_KEYS_BYTES_MAX:
            raise TooLarge("The device's keys have too many signatures")
        await put_device_keys(tx, self.codec, user_id, {self.device_id: encoded})
        return await mark_changed(tx, user_id, position, self.device_id)
