"""What other servers are told when keys or devices of our users change.

Of each user it is known when their devices or keys last changed, which device it was, and when the change before was. A
server that was told of that one can apply the update; any other does not know what the update refers to, and asks for
all devices. So it does where more than one device has changed, and the update refers to none.

Spec: https://spec.matrix.org/v1.19/server-server-api/#device-management
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from tim_server.matrix.end_to_end.cross_signing import MASTER, SELF_SIGNING
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.transactions.edus import NOBODY as NOTHING_CHANGED
from tim_server.services.transactions.edus import Asked, Concerned, DueEdus, Edu, EduSource
from tim_server.storage.commit_log import CommitEntry, Fact
from tim_server.storage.cross_signing_keys import StoredCrossSigningKey, load_cross_signing_keys
from tim_server.storage.database import Connection
from tim_server.storage.device_keys import NamedDeviceKeys, load_keys_of_users
from tim_server.storage.device_lists import DEVICE_LISTS, ChangedUser, load_changed_users
from tim_server.storage.room_servers import find_users_sharing_with
from tim_server.storage.store import Store

NOBODY = UserId("")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceListEdus(EduSource):
    """Users whose devices or keys have changed, for servers that share rooms with them."""

    store: Store
    server_name: ServerName
    name: str = "device_lists"

    def concerned(self, entry: CommitEntry) -> Concerned:
        """The rooms of users of ours who have changed."""
        rooms = [nid for nid, facts in entry.facts.items() if any(map(self._is_told, facts))]
        return Concerned(rooms=rooms) if rooms else NOTHING_CHANGED

    async def from_database(self, tx: Connection, asked: Asked) -> DueEdus:
        """An update, and one of cross-signing keys, for each user who has changed; two EDUs a user at most."""
        users_max = max(asked.limit // 2, 1)
        changed = await load_changed_users(tx, self.server_name, after=asked.after, up_to=asked.up_to, limit=users_max)
        more = len(changed) >= users_max
        told = await find_users_sharing_with(tx, asked.destination, [user.user_id for user in changed])
        devices = await load_keys_of_users(tx, self.store.codec, sorted(told))
        keys = await load_cross_signing_keys(tx, self.store.codec, sorted(told), NOBODY)
        edus: list[Edu] = []
        for user in changed:
            if user.user_id in told:
                edus.append(_device_list_update(user, devices.get(user.user_id, [])))
                edus += _signing_key_update(user.user_id, [key for key in keys if key.user_id == user.user_id])
        return DueEdus(edus=edus, cursor=changed[-1].position if more else asked.up_to, more=more)

    def _is_told(self, fact: Fact) -> bool:
        return fact.stream == DEVICE_LISTS and UserId(fact.value[0]).server_name == self.server_name


def _device_list_update(user: ChangedUser, devices: Sequence[NamedDeviceKeys]) -> Edu:
    prev_id = [user.previous_position] if user.device_id is not None and user.previous_position else []
    device_id = user.device_id or (devices[0].device_id if devices else "")
    content: dict[str, Any] = {
        "user_id": str(user.user_id),
        "device_id": device_id,
        "stream_id": user.position,
        "prev_id": prev_id,
    }
    keys = next((device.keys for device in devices if device.device_id == device_id), None)
    if keys is not None:
        content["keys"] = orjson.loads(keys)
    elif user.is_device_gone or not device_id:
        content["deleted"] = True
    return Edu(edu_type="m.device_list_update", content=content)


def _signing_key_update(user_id: UserId, keys: Sequence[StoredCrossSigningKey]) -> list[Edu]:
    by_usage = {key.usage: orjson.loads(key.key) for key in keys}
    if MASTER not in by_usage:
        return []
    content = {"user_id": str(user_id), "master_key": by_usage[MASTER]}
    if SELF_SIGNING in by_usage:
        content["self_signing_key"] = by_usage[SELF_SIGNING]
    return [Edu(edu_type="m.signing_key_update", content=content)]
