"""Publish signatures of keys: of one's own devices and master key, and of the master keys of others.

Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keyssignaturesupload
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tim_server.matrix.end_to_end.cross_signing import MASTER, SELF_SIGNING, USER_SIGNING
from tim_server.matrix.end_to_end.device_keys import device_key
from tim_server.matrix.end_to_end.errors import InvalidSignature
from tim_server.matrix.end_to_end.signed_objects import (
    ED25519,
    encode_object,
    is_signed,
    signatures_by,
    signed_part,
)
from tim_server.matrix.errors import BadJson, InvalidParam, MatrixError, NotFound, TooLarge, Unavailable
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.open_session import DEVICES
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import Fact
from tim_server.storage.cross_signing_keys import (
    StoredCrossSigningKey,
    load_cross_signing_keys,
    load_user_signatures,
    put_cross_signing_key,
    put_user_signatures,
)
from tim_server.storage.database import Connection, Database
from tim_server.storage.device_keys import load_keys_of_user, put_device_keys
from tim_server.storage.device_lists import mark_changed
from tim_server.storage.writer import Writer

OBJECTS_MAX = 500
ATTEMPTS_MAX = 3

SignedObjects = Mapping[UserId, Mapping[str, Any]]
"""Signed objects by user, and by the key that they are: a device id, or the public part of a master key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureUpload:
    """Takes signatures that are right, and says of each other one what is wrong."""

    database: Database
    writer: Writer
    codec: Codec

    async def upload(self, signer: UserId, objects: SignedObjects) -> dict[str, dict[str, Any]]:
        """The failures, as error bodies by user and key; raises `TooLarge` for too many objects."""
        if sum(map(len, objects.values())) > OBJECTS_MAX:
            raise TooLarge(f"At most {OBJECTS_MAX} signed objects can be uploaded at once")
        for _ in range(ATTEMPTS_MAX):
            async with self.database.read() as tx:
                known = await _load(tx, self.codec, signer, objects)
            decision = _Decision(signer=signer, known=known)
            for user_id, of_user in objects.items():
                for key_id, value in of_user.items():
                    decision.decide(user_id, key_id, value)
            if not decision.has_changes or await self.writer.write(
                _Store(users=(signer,), codec=self.codec, objects=objects, decision=decision)
            ):
                return decision.failures
        raise Unavailable("The keys change while they are signed; try again")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What signatures are held against: keys of the signer's devices, the cross-signing keys of all users concerned by
    user and usage, and what the signer has signed before."""

    devices: dict[str, bytes]
    keys: dict[tuple[UserId, str], StoredCrossSigningKey]
    signatures: dict[UserId, bytes]


async def _load(tx: Connection, codec: Codec, signer: UserId, user_ids: Iterable[UserId]) -> _Known:
    users = [*{signer, *user_ids}]
    keys = await load_cross_signing_keys(tx, codec, users, signer)
    return _Known(
        devices=await load_keys_of_user(tx, codec, signer),
        keys={(key.user_id, key.usage): key for key in keys},
        signatures=await load_user_signatures(tx, codec, signer, users),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decision:
    """What of an upload is taken: new forms of the signer's devices and master key, new signatures of other users."""

    signer: UserId
    known: _Known
    devices: dict[str, bytes] = field(default_factory=dict)
    master: dict[str, bytes] = field(default_factory=dict)
    signatures: dict[UserId, bytes] = field(default_factory=dict)
    failures: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def has_changes(self) -> bool:
        return bool(self.devices or self.master or self.signatures)

    def decide(self, user_id: UserId, key_id: str, value: Any) -> None:
        """Take the signatures of one object, or note why not."""
        try:
            if not isinstance(value, dict):
                raise BadJson("A signed object must be an object")
            if user_id != self.signer:
                self._sign_user(user_id, key_id, value)
            elif key_id in self.known.devices:
                self._sign_device(key_id, value)
            else:
                self._sign_own_master(key_id, value)
        except MatrixError as failure:
            self.failures.setdefault(str(user_id), {})[key_id] = failure.body()

    def _sign_device(self, device_id: str, value: dict[str, Any]) -> None:
        """The signer's self-signing key signs one of their devices."""
        stored = orjson.loads(self.known.devices[device_id])
        name, signature = self._signature_by(SELF_SIGNING, stored, value)
        merged = _with_signatures(stored, self.signer, signatures_by(stored, self.signer) | {name: signature})
        if merged != self.known.devices[device_id]:
            self.devices[device_id] = merged

    def _sign_own_master(self, public_key: str, value: dict[str, Any]) -> None:
        """Devices of the signer sign their master key. Signatures of devices that are gone go."""
        master = self._master_of(self.signer, public_key)
        stored = orjson.loads(master.key)
        _check_same(stored, value)
        given, made = signatures_by(value, self.signer), {}
        for device_id, device in self.known.devices.items():
            name, key = ED25519 + device_id, device_key(orjson.loads(device))
            if name not in given or key is None:
                continue
            if not is_signed(value, self.signer, device_id, key):
                raise InvalidSignature("The signature of a device is not right")
            made[name] = given[name]
        if not made:
            raise InvalidSignature("No device of the user has signed the key")
        own_keys = (key.public_key for key in self.known.keys.values() if key.user_id == self.signer)
        names = {ED25519 + name for name in (*self.known.devices, *own_keys)}
        kept = {name: item for name, item in signatures_by(stored, self.signer).items() if name in names}
        merged = _with_signatures(stored, self.signer, kept | made)
        if merged != master.key:
            self.master[public_key] = merged

    def _sign_user(self, user_id: UserId, public_key: str, value: dict[str, Any]) -> None:
        """The signer's user-signing key signs the master key of another user."""
        stored = orjson.loads(self._master_of(user_id, public_key).key)
        name, signature = self._signature_by(USER_SIGNING, stored, value)
        encoded = encode_object({name: signature})
        if self.known.signatures.get(user_id) != encoded:
            self.signatures[user_id] = encoded

    def _master_of(self, user_id: UserId, public_key: str) -> StoredCrossSigningKey:
        master = self.known.keys.get((user_id, MASTER))
        if master is None or master.public_key != public_key:
            raise NotFound("There is no such key")
        return master

    def _signature_by(self, usage: str, stored: dict[str, Any], value: dict[str, Any]) -> tuple[str, str]:
        """The signature that the signer's key of this usage has made of a key that is stored, with the key's id."""
        key = self.known.keys.get((self.signer, usage))
        if key is None:
            raise NotFound(f"There is no {usage} key")
        _check_same(stored, value)
        if not is_signed(value, self.signer, key.public_key, key.public_key):
            raise InvalidSignature(f"The signature of the {usage} key is missing or not right")
        name = ED25519 + key.public_key
        return name, signatures_by(value, self.signer)[name]


def _check_same(stored: Mapping[str, Any], value: Mapping[str, Any]) -> None:
    """ "The signed JSON object must match the key previously uploaded or retrieved for the given key ID, with the
    exception of the signatures property"."""
    if signed_part(stored) != signed_part(value):
        raise InvalidParam("The signed object is not the key that was uploaded")


def _with_signatures(stored: Mapping[str, Any], signer: UserId, signatures: Mapping[str, str]) -> bytes:
    return encode_object({**stored, "signatures": {str(signer): signatures}})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Store:
    """Stores what was decided, if all is still as it was then."""

    users: tuple[UserId, ...]
    codec: Codec
    objects: SignedObjects
    decision: _Decision
    streams: tuple[str, ...] = (DEVICES,)
    facts: list[Fact] = field(default_factory=list)

    async def store(self, tx: Connection, position: int) -> bool:
        decision, signer = self.decision, self.users[0]
        if await _load(tx, self.codec, signer, self.objects) != decision.known:
            return False
        await put_device_keys(tx, self.codec, signer, decision.devices)
        for public_key, key in decision.master.items():
            master = StoredCrossSigningKey(user_id=signer, usage=MASTER, public_key=public_key, key=key)
            await put_cross_signing_key(tx, self.codec, master)
        await put_user_signatures(tx, self.codec, signer, decision.signatures, position=position)
        self.facts[:] = []
        if decision.devices or decision.master:
            (alone,) = decision.devices if len(decision.devices) == 1 and not decision.master else (None,)
            self.facts[:] = await mark_changed(tx, signer, position, alone)
        return True
