"""Claim one-time keys: each is given out once, whoever asks, and whatever happens meanwhile.

Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysclaim
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tim_server.egress.errors import OutgoingError
from tim_server.federation.client import FederationClient
from tim_server.federation.device_keys import claim_keys
from tim_server.federation.errors import RemoteError
from tim_server.matrix.end_to_end.signed_objects import encode_object
from tim_server.matrix.errors import MatrixError, TooLarge
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.keys.query import bounded_timeout_s, failures_json
from tim_server.services.keys.remote_keys import as_failure, not_in_federation
from tim_server.services.keys.upload import ONE_TIME_KEYS
from tim_server.services.trust.gate import ChokePoint, TrustGate
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.one_time_keys import ClaimedKey, KeyName
from tim_server.storage.one_time_keys import claim_keys as take_keys
from tim_server.storage.writer import Writer

CLAIMS_MAX = 5_000


Wanted = Mapping[UserId, Mapping[str, str]]
Keys = dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyClaim:
    """Gives out keys of devices of this server, and asks other servers for theirs; those that do not answer are told of
    as failures."""

    server_name: ServerName
    writer: Writer
    codec: Codec
    client: FederationClient
    gate: TrustGate

    async def claim(self, wanted: Wanted, *, timeout_ms: int | None = None) -> bytes:
        """The response body. `wanted` are algorithms by user and device; devices that have no such key are left out.
        `timeout_ms` is how long other servers may take.

        A key is committed as given out before it is told: where the answer is lost, it is not given out again. Raises
        `TooLarge` for too many devices.
        """
        _check_count(wanted)
        keys = await self._claim_own(wanted)
        by_server: dict[ServerName, dict[UserId, Mapping[str, str]]] = {}
        for user_id, devices in wanted.items():
            if user_id.server_name != self.server_name:
                by_server.setdefault(user_id.server_name, {})[user_id] = devices
        refused = await self.gate.refused(ChokePoint.CLIENT_REQUEST, by_server)
        failures: dict[ServerName, MatrixError] = {name: not_in_federation() for name in refused}
        by_server = {name: of for name, of in by_server.items() if name not in refused}
        timeout_s = bounded_timeout_s(timeout_ms)
        answers = await asyncio.gather(*(self._ask(name, of, timeout_s) for name, of in by_server.items()))
        for server_name, answer in zip(by_server, answers, strict=True):
            if isinstance(answer, MatrixError):
                failures[server_name] = answer
            else:
                keys |= answer
        return b'{"failures":%b,"one_time_keys":%b}' % (failures_json(failures), orjson.dumps(keys))

    async def claim_for_server(self, wanted: Wanted) -> bytes:
        """The response body for another server: of users of this server. Raises as `claim` does."""
        _check_count(wanted)
        return b'{"one_time_keys":%b}' % orjson.dumps(await self._claim_own(wanted))

    async def _claim_own(self, wanted: Wanted) -> Keys:
        names = [
            (user_id, device_id, algorithm)
            for user_id, devices in wanted.items()
            if user_id.server_name == self.server_name
            for device_id, algorithm in devices.items()
        ]
        claimed = await self.writer.write(_Claim(codec=self.codec, wanted=names)) if names else []
        by_user: Keys = {}
        for key in claimed:
            by_user.setdefault(str(key.user_id), {})[key.device_id] = {key.name: orjson.Fragment(key.value)}
        return by_user

    async def _ask(self, server_name: ServerName, wanted: Wanted, timeout_s: float) -> Keys | MatrixError:
        try:
            answer = await claim_keys(self.client, server_name, wanted, timeout_s=timeout_s)
        except (OutgoingError, RemoteError, MatrixError) as error:
            return as_failure(error)
        return _asked_for(answer.get("one_time_keys"), wanted)


def _check_count(wanted: Wanted) -> None:
    if sum(map(len, wanted.values())) > CLAIMS_MAX:
        raise TooLarge(f"Keys of at most {CLAIMS_MAX} devices can be claimed at once")


def _asked_for(answer: Any, wanted: Wanted) -> Keys:
    """Of what another server answers, a key for each device that it was asked for, of the algorithm that was wanted;
    none that is no canonical JSON, as nobody could have signed it."""
    found: Keys = {}
    for user_id, devices in wanted.items():
        of_user = answer.get(user_id) if isinstance(answer, dict) else None
        for device_id, algorithm in devices.items():
            of_device = of_user.get(device_id) if isinstance(of_user, dict) else None
            for name, value in of_device.items() if isinstance(of_device, dict) else ():
                key = _encoded(value) if name.partition(":")[0] == algorithm else None
                if key is not None:
                    found.setdefault(str(user_id), {})[device_id] = {name: key}
                    break
    return found


def _encoded(value: Any) -> orjson.Fragment | None:
    try:
        return orjson.Fragment(encode_object(value))
    except MatrixError:
        return None


@dataclass(slots=True, kw_only=True)
class _Claim:
    """`users` are those whose keys were given out."""

    codec: Codec
    wanted: list[KeyName]
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = (ONE_TIME_KEYS,)

    async def store(self, tx: Connection, position: int) -> list[ClaimedKey]:
        claimed = await take_keys(tx, self.codec, self.wanted, position=position)
        self.users = tuple({key.user_id for key in claimed})
        return claimed
