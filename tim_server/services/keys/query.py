"""Give out the keys of devices and users, so that others can encrypt for them and know them again.

Stored keys are JSON with the signatures that everybody may see; they go into the answer as they are.

Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysquery
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from tim_server.matrix.end_to_end.cross_signing import MASTER, SELF_SIGNING, USER_SIGNING
from tim_server.matrix.end_to_end.signed_objects import encode_object
from tim_server.matrix.errors import TooLarge
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.turns import in_turns
from tim_server.storage.codec import Codec
from tim_server.storage.cross_signing_keys import (
    StoredCrossSigningKey,
    load_cross_signing_keys,
    load_user_signatures,
)
from tim_server.storage.database import Database
from tim_server.storage.device_keys import NamedDeviceKeys, load_keys_of_users

UNREACHABLE = {"errcode": "M_UNKNOWN", "error": "The server can't be reached"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyQuery:
    """Answers queries about users of this server; other servers are told of as failures."""

    server_name: ServerName
    database: Database
    codec: Codec
    users_max: int

    async def query(self, reader: UserId, wanted: Mapping[UserId, Sequence[str]]) -> bytes:
        """The response body. `wanted` are device ids by user, none for all; users that do not exist are left out.

        Raises `TooLarge` for too many users.
        """
        if len(wanted) > self.users_max:
            raise TooLarge(f"The keys of at most {self.users_max} users can be queried at once")
        local = [user_id for user_id in wanted if user_id.server_name == self.server_name]
        async with self.database.read() as tx:
            devices = await load_keys_of_users(tx, self.codec, local)
            keys = await load_cross_signing_keys(tx, self.codec, local, reader)
            signatures = await load_user_signatures(tx, self.codec, reader, local)
        members = [b'"failures":' + failures_json(user_id.server_name for user_id in wanted.keys() - set(local))]
        of_users = []
        async for user_id, of_user in in_turns(devices.items()):
            of_users.append((user_id, _devices_json(of_user, wanted[user_id])))
        members.append(_member("device_keys", of_users))
        for usage, name in ((MASTER, "master_keys"), (SELF_SIGNING, "self_signing_keys")):
            of_usage = [(key.user_id, _key_json(key, reader, signatures)) for key in keys if key.usage == usage]
            members.append(_member(name, of_usage))
        own = [(key.user_id, key.key) for key in keys if key.usage == USER_SIGNING]
        members.append(_member("user_signing_keys", own))
        return b"{%b}" % b",".join(members)


def failures_json(server_names: Iterable[ServerName]) -> bytes:
    """What is told of servers that could not be asked."""
    return orjson.dumps({str(name): UNREACHABLE for name in server_names})


def _member(name: str, by_user: Iterable[tuple[UserId, bytes]]) -> bytes:
    members = (b"%b:%b" % (orjson.dumps(str(user_id)), value) for user_id, value in by_user)
    return b'"%b":{%b}' % (name.encode(), b",".join(members))


def _devices_json(devices: Iterable[NamedDeviceKeys], wanted: Sequence[str]) -> bytes:
    names = frozenset(wanted)
    named = [device for device in devices if not names or device.device_id in names]
    return b"{%b}" % b",".join(b"%b:%b" % (orjson.dumps(device.device_id), _device_json(device)) for device in named)


def _device_json(device: NamedDeviceKeys) -> bytes:
    name = b""
    if device.display_name is not None:
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
