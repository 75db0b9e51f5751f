"""Give out the keys of devices and users, so that others can encrypt for them and know them again.

Stored keys are JSON with the signatures that everybody may see; they go into the answer as they are.

Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysquery
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from tim_server.matrix.end_to_end.cross_signing import MASTER, SELF_SIGNING, USER_SIGNING
from tim_server.matrix.end_to_end.signed_objects import encode_object
from tim_server.matrix.errors import MatrixError, TooLarge
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.keys.remote_keys import RemoteKeyCache, not_in_federation
from tim_server.services.trust.gate import ChokePoint, TrustGate
from tim_server.services.turns import in_turns
from tim_server.storage.codec import Codec
from tim_server.storage.cross_signing_keys import (
    StoredCrossSigningKey,
    load_cross_signing_keys,
    load_user_signatures,
)
from tim_server.storage.database import Database
from tim_server.storage.device_keys import NamedDeviceKeys, load_keys_of_users

TIMEOUT_S_DEFAULT, TIMEOUT_S_MAX = 10.0, 30.0
NOBODY = UserId("")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyQuery:
    """Answers queries about users of this server and of others; servers that do not answer are told of as failures."""

    server_name: ServerName
    database: Database
    codec: Codec
    remote: RemoteKeyCache
    gate: TrustGate
    users_max: int

    async def query(
        self, reader: UserId, wanted: Mapping[UserId, Sequence[str]], *, timeout_ms: int | None = None
    ) -> bytes:
        """The response body. `wanted` are device ids by user, none for all; users that do not exist are left out.
        `timeout_ms` is how long other servers may take.

        Raises `TooLarge` for too many users.
        """
        self._check_count(wanted)
        remote = [user_id for user_id in wanted if user_id.server_name != self.server_name]
        refused = await self.gate.refused(ChokePoint.CLIENT_REQUEST, {user_id.server_name for user_id in remote})
        remote = [user_id for user_id in remote if user_id.server_name not in refused]
        failures = dict(await self.remote.refresh(remote, timeout_s=bounded_timeout_s(timeout_ms)))
        failures |= {name: not_in_federation() for name in refused}
        known = {user_id: ids for user_id, ids in wanted.items() if user_id.server_name not in failures}
        return b'{"failures":%b,%b}' % (failures_json(failures), await self._members(reader, known))

    async def query_for_server(self, wanted: Mapping[UserId, Sequence[str]]) -> bytes:
        """The response body for another server: of users of this server, without names of devices, and without what
        users have signed of others. Raises `TooLarge` for too many users."""
        self._check_count(wanted)
        own = {user_id: ids for user_id, ids in wanted.items() if user_id.server_name == self.server_name}
        return b"{%b}" % await self._members(NOBODY, own)

    def _check_count(self, wanted: Collection[UserId]) -> None:
        if len(wanted) > self.users_max:
            raise TooLarge(f"The keys of at most {self.users_max} users can be queried at once")

    async def _members(self, reader: UserId, wanted: Mapping[UserId, Sequence[str]]) -> bytes:
        """The members of the response by kind of key."""
        users = list(wanted)
        async with self.database.read() as tx:
            devices = await load_keys_of_users(tx, self.codec, users)
            keys = await load_cross_signing_keys(tx, self.codec, users, reader)
            signatures = await load_user_signatures(tx, self.codec, reader, users)
        members, of_users = [], []
        async for user_id, of_user in in_turns(devices.items()):
            of_users.append((user_id, _devices_json(of_user, wanted[user_id], with_names=reader != NOBODY)))
        members.append(_member("device_keys", of_users))
        for usage, name in ((MASTER, "master_keys"), (SELF_SIGNING, "self_signing_keys")):
            of_usage = [(key.user_id, _key_json(key, reader, signatures)) for key in keys if key.usage == usage]
            members.append(_member(name, of_usage))
        if reader != NOBODY:
            own = [(key.user_id, key.key) for key in keys if key.usage == USER_SIGNING]
            members.append(_member("user_signing_keys", own))
        return b",".join(members)


def bounded_timeout_s(timeout_ms: int | None) -> float:
    """How long other servers may take, in seconds, for what a client asks."""
    if timeout_ms is None:
        return TIMEOUT_S_DEFAULT
    return min(max(timeout_ms / 1000, 0.0), TIMEOUT_S_MAX)


def failures_json(failures: Mapping[ServerName, MatrixError]) -> bytes:
    """What is told of servers that could not be asked."""
    return orjson.dumps({str(name): error.body() for name, error in failures.items()})


def _member(name: str, by_user: Iterable[tuple[UserId, bytes]]) -> bytes:
    members = (b"%b:%b" % (orjson.dumps(str(user_id)), value) for user_id, value in by_user)
    return b'"%b":{%b}' % (name.encode(), b",".join(members))


def _devices_json(devices: Iterable[NamedDeviceKeys], wanted: Sequence[str], *, with_names: bool) -> bytes:
    ids = frozenset(wanted)
    given = [device for device in devices if not ids or device.device_id in ids]
    members = (b"%b:%b" % (orjson.dumps(d.device_id), _device_json(d, with_name=with_names)) for d in given)
    return b"{%b}" % b",".join(members)


def _device_json(device: NamedDeviceKeys, *, with_name: bool) -> bytes:
    name = b""
    if with_name and device.display_name is not None:
        name = b'"device_display_name":' + orjson.dumps(device.display_name)
    return b'%b,"unsigned":{%b}}' % (device.keys[:-1], name)


def _key_json(key: StoredCrossSigningKey, reader: UserId, signatures: Mapping[UserId, bytes]) -> bytes:
    """The key, with the reader's signature where there is one."""
    signature = signatures.get(key.user_id) if key.usage == MASTER else None
    if signature is None:
        return key.key
    value = orjson.loads(key.key)
    value.setdefault("signatures", {})[str(reader)] = orjson.loads(signature)
    return encode_object(value)
