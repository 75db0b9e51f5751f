"""Claim one-time keys: each is given out once, whoever asks, and whatever happens meanwhile.

Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysclaim
"""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from tim_server.matrix.errors import TooLarge
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.keys.query import failures_json
from tim_server.services.keys.upload import ONE_TIME_KEYS
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.one_time_keys import ClaimedKey, KeyName, claim_keys
from tim_server.storage.writer import Writer

CLAIMS_MAX = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyClaim:
    """Gives out keys of devices of this server; other servers are told of as failures."""

    server_name: ServerName
    writer: Writer
    codec: Codec

    async def claim(self, wanted: Mapping[UserId, Mapping[str, str]]) -> bytes:
        """The response body. `wanted` are algorithms by user and device; devices that have no such key are left out.

        A key is committed as given out before it is told: where the answer is lost, it is not given out again. Raises
        `TooLarge` for too many devices.
        """
        if sum(map(len, wanted.values())) > CLAIMS_MAX:
            raise TooLarge(f"Keys of at most {CLAIMS_MAX} devices can be claimed at once")
        failures = failures_json(user_id.server_name for user_id in wanted if user_id.server_name != self.server_name)
        names = [
            (user_id, device_id, algorithm)
            for user_id, devices in wanted.items()
            if user_id.server_name == self.server_name
            for device_id, algorithm in devices.items()
        ]
        claimed = await self.writer.write(_Claim(codec=self.codec, wanted=names)) if names else []
        return b'{"failures":%b,"one_time_keys":%b}' % (failures, _keys_json(claimed))


def _keys_json(claimed: list[ClaimedKey]) -> bytes:
    by_user: dict[str, dict[str, dict[str, orjson.Fragment]]] = {}
    for key in claimed:
        by_user.setdefault(str(key.user_id), {})[key.device_id] = {key.name: orjson.Fragment(key.value)}
    return orjson.dumps(by_user)


@dataclass(slots=True, kw_only=True)
class _Claim:
    """`users` are those whose keys were given out."""

    codec: Codec
    wanted: list[KeyName]
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = (ONE_TIME_KEYS,)

    async def store(self, tx: Connection, position: int) -> list[ClaimedKey]:
        claimed = await claim_keys(tx, self.codec, self.wanted, position=position)
        self.users = tuple({key.user_id for key in claimed})
        return claimed
