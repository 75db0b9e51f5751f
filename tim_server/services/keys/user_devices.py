"""All devices of a user, for other servers.

Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1userdevicesuserid
"""

from dataclasses import dataclass
from typing import Any

import orjson

from tim_server.matrix.end_to_end.cross_signing import MASTER, SELF_SIGNING
from tim_server.matrix.errors import NotFound
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.storage.codec import Codec
from tim_server.storage.cross_signing_keys import load_cross_signing_keys
from tim_server.storage.database import Database
from tim_server.storage.device_keys import load_keys_of_users
from tim_server.storage.device_lists import load_change_position

NOBODY = UserId("")


@dataclass(frozen=True, slots=True, kw_only=True)
class UserDevices:
    """Tells the devices of users of this server."""

    server_name: ServerName
    database: Database
    codec: Codec

    async def of(self, user_id: UserId) -> bytes:
        """The response body; raises `NotFound` for users of other servers, and those who do not exist."""
        if user_id.server_name != self.server_name:
            raise NotFound("The user is not of this server")
        async with self.database.read() as tx:
            devices = await load_keys_of_users(tx, self.codec, [user_id])
            keys = await load_cross_signing_keys(tx, self.codec, [user_id], NOBODY)
            stream_id = await load_change_position(tx, user_id)
        if user_id not in devices:
            raise NotFound("There is no such user")
        answer: dict[str, Any] = {
            "user_id": str(user_id),
            "stream_id": stream_id,
            "devices": [
                {"device_id": device.device_id, "keys": orjson.Fragment(device.keys)} for device in devices[user_id]
            ],
        }
        names = {MASTER: "master_key", SELF_SIGNING: "self_signing_key"}
        answer |= {names[key.usage]: orjson.Fragment(key.key) for key in keys if key.usage in names}
        return orjson.dumps(answer)
