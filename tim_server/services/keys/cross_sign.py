"""Publish cross-signing keys.

Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysdevice_signingupload
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tim_server.matrix.end_to_end.cross_signing import (
    MASTER,
    SELF_SIGNING,
    USAGES,
    USER_SIGNING,
    CrossSigningKey,
    check_signed_by_master,
    read_cross_signing_key,
)
from tim_server.matrix.end_to_end.signed_objects import ED25519, encode_object
from tim_server.matrix.errors import Forbidden, MissingParam, Unavailable
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.open_session import DEVICES
from tim_server.services.accounts.policy import Clock
from tim_server.services.accounts.requester import Requester
from tim_server.services.accounts.uia import PASSWORD, InteractiveAuth, Operation
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import Fact
from tim_server.storage.cross_signing_keys import (
    StoredCrossSigningKey,
    delete_cross_signing_keys,
    delete_signatures_by,
    delete_signatures_of,
    load_own_cross_signing_keys,
    put_cross_signing_key,
)
from tim_server.storage.database import Connection, Database
from tim_server.storage.device_keys import load_keys_of_user, put_device_keys
from tim_server.storage.device_lists import mark_changed, mark_changed_for_owner
from tim_server.storage.devices import list_device_ids
from tim_server.storage.uia_sessions import consume_session
from tim_server.storage.writer import Writer

OPERATION = "upload_cross_signing_keys"
ATTEMPTS_MAX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossSigningUpload:
    """Takes the public parts of a user's three keys."""

    database: Database
    writer: Writer
    codec: Codec
    clock: Clock
    uia: InteractiveAuth

    async def upload(
        self, requester: Requester, keys: Mapping[str, Mapping[str, Any]], auth: Mapping[str, Any] | None
    ) -> None:
        """Set the keys given, by usage. The first ones need no authentication, and those that are there already change
        nothing. A new master key takes the place of all others, and signatures of replaced keys go.

        Raises `InteractiveAuthRequired`; `InvalidSignature` for a key that the master key has not signed;
        `MissingParam` where there is no master key; `Forbidden` for a key that is the id of a device; `BadJson`,
        `InvalidParam`, `TooLarge`.
        """
        user_id = requester.user_id
        new = {usage: read_cross_signing_key(value, usage, user_id) for usage, value in keys.items()}
        for _ in range(ATTEMPTS_MAX):
            if await self._attempt(user_id, new, auth):
                return
        raise Unavailable("Other devices upload keys at the same time; try again")

    async def _attempt(
        self, user_id: UserId, new: Mapping[str, CrossSigningKey], auth: Mapping[str, Any] | None
    ) -> bool:
        """False where another upload came between."""
        async with self.database.connection() as connection:
            stored = await load_own_cross_signing_keys(connection, self.codec, user_id)
        _check(new, stored, user_id)
        if not _changes(new, stored):
            return True
        uia_session = None
        if MASTER in stored:
            operation = Operation(name=_operation_of(new), flows=((PASSWORD,),), user_id=user_id)
            uia_session = await self.uia.authenticate(operation, auth)
        return await self.writer.write(
            _Upload(
                users=(user_id,),
                codec=self.codec,
                new=new,
                expected={usage: key.public_key for usage, key in stored.items()},
                uia_session=uia_session,
                now=self.clock(),
            )
        )


def _operation_of(new: Mapping[str, CrossSigningKey]) -> str:
    """What was authenticated for some keys does not do for others."""
    public_keys = sorted((usage, key.public_key) for usage, key in new.items())
    return f"{OPERATION} {hashlib.sha256(repr(public_keys).encode()).hexdigest()}"


def _check(new: Mapping[str, CrossSigningKey], stored: Mapping[str, StoredCrossSigningKey], user_id: UserId) -> None:
    master = new[MASTER].public_key if MASTER in new else stored[MASTER].public_key if MASTER in stored else None
    if master is None:
        raise MissingParam("There is no master key")
    for usage in (SELF_SIGNING, USER_SIGNING):
        if usage in new:
            check_signed_by_master(new[usage], user_id, master)


def _changes(new: Mapping[str, CrossSigningKey], stored: Mapping[str, StoredCrossSigningKey]) -> bool:
    return any(usage not in stored or stored[usage].public_key != key.public_key for usage, key in new.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Upload:
    """`expected` are the public keys by usage that the upload was decided on."""

    users: tuple[UserId, ...]
    codec: Codec
    new: Mapping[str, CrossSigningKey]
    expected: Mapping[str, str]
    uia_session: str | None
    now: int
    streams: tuple[str, ...] = (DEVICES,)
    facts: list[Fact] = field(default_factory=list)

    async def store(self, tx: Connection, position: int) -> bool:
        user_id = self.users[0]
        stored = await load_own_cross_signing_keys(tx, self.codec, user_id)
        if {usage: key.public_key for usage, key in stored.items()} != self.expected:
            return False
        device_ids = await list_device_ids(tx, user_id)
        if any(key.public_key in device_ids for key in self.new.values()):
            raise Forbidden("A device has the ID of a key")
        if self.uia_session is not None and not await consume_session(tx, self.uia_session, now=self.now):
            raise Forbidden("The authentication has been used already")
        replaced = [usage for usage in USAGES if self._is_replaced(usage)]
        await self._drop_signatures(tx, replaced)
        await delete_cross_signing_keys(tx, user_id, replaced)
        for usage, key in self.new.items():
            if self.expected.get(usage) != key.public_key:
                await put_cross_signing_key(tx, self.codec, _stored(key, user_id))
        if MASTER in self.new or SELF_SIGNING in self.new:
            self.facts[:] = await mark_changed(tx, user_id, position)
        else:
            await mark_changed_for_owner(tx, user_id, position)
        return True

    def _is_replaced(self, usage: str) -> bool:
        """Whether the stored key of this usage goes: another comes in its place, or its master key is replaced."""
        old = self.expected.get(usage)
        if old is None:
            return False
        if usage in self.new:
            return self.new[usage].public_key != old
        return MASTER in self.new and self.new[MASTER].public_key != self.expected[MASTER]

    async def _drop_signatures(self, tx: Connection, replaced: list[str]) -> None:
        user_id = self.users[0]
        if MASTER in replaced:
            await delete_signatures_of(tx, user_id)
        if USER_SIGNING in replaced:
            await delete_signatures_by(tx, user_id)
        if SELF_SIGNING in replaced:
            key_id = ED25519 + self.expected[SELF_SIGNING]
            changed = {}
            for device_id, stored in (await load_keys_of_user(tx, self.codec, user_id)).items():
                keys = orjson.loads(stored)
                if keys["signatures"][user_id].pop(key_id, None) is not None:
                    changed[device_id] = encode_object(keys)
            await put_device_keys(tx, self.codec, user_id, changed)


def _stored(key: CrossSigningKey, user_id: UserId) -> StoredCrossSigningKey:
    return StoredCrossSigningKey(
        user_id=user_id, usage=key.usage, public_key=key.public_key, key=encode_object(key.value)
    )
