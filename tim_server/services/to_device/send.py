"""Send messages to devices.

Spec: https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from tim_server.matrix.errors import InvalidParam, TooLarge
from tim_server.matrix.identifiers import ID_BYTES_MAX, ServerName, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.json_values import encode_json
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.devices import find_devices
from tim_server.storage.to_device import (
    NOTHING_DROPPED,
    Dropped,
    NewMessage,
    add_messages,
    add_transaction,
    shorten_queues,
)
from tim_server.storage.writer import Writer

TO_DEVICE = "to_device"
"""The commit log's stream for messages that wait for a user's devices."""

ALL_DEVICES = "*"
ContentByDevice = Mapping[UserId, Mapping[str, Mapping[str, Any]]]
CONTENT_BYTES_MAX = 65_536

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToDevicePolicy:
    """Bounds: messages that wait for one device, messages of one request, and their bytes once each device has its
    own."""

    per_device_max: int = 10_000
    per_request_max: int = 5_000
    bytes_per_request_max: int = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class ToDeviceSender:
    """Puts messages into the queues of devices of this server. Those of other servers get none as long as this server
    does not federate."""

    server_name: ServerName
    writer: Writer
    codec: Codec
    policy: ToDevicePolicy

    async def send(self, requester: Requester, event_type: str, txn_id: str, messages: ContentByDevice) -> None:
        """Queue the messages, contents by user and device (`*` for all devices), together. A transaction id that the
        device has used before for this type changes nothing. Devices that do not exist get nothing.

        Raises `InvalidParam` for a type that is too long, `TooLarge`, and `BadJson`.
        """
        if len(event_type.encode()) > ID_BYTES_MAX:
            raise InvalidParam(f"The type must have at most {ID_BYTES_MAX} bytes")
        if sum(map(len, messages.values())) > self.policy.per_request_max:
            raise TooLarge(f"At most {self.policy.per_request_max} messages can be sent at once")
        start = b'{"sender":%b,"type":%b,"content":' % (orjson.dumps(str(requester.user_id)), orjson.dumps(event_type))
        dropped = await self.writer.write(
            _Send(
                sender=(requester.user_id, requester.device_id or ""),
                codec=self.codec,
                key_hash=hashlib.sha256(f"{event_type}\0{txn_id}".encode()).digest(),
                messages={
                    user_id: {device_id: b"%b%b}" % (start, _encode(content)) for device_id, content in of_user.items()}
                    for user_id, of_user in messages.items()
                    if user_id.server_name == self.server_name
                },
                policy=self.policy,
            )
        )
        if dropped.messages:
            log.warning(
                "messages to devices that do not sync were dropped",
                messages=dropped.messages,
                devices=dropped.devices,
                per_device_max=self.policy.per_device_max,
            )


def _encode(content: Mapping[str, Any]) -> bytes:
    encoded = encode_json(content)
    if len(encoded) > CONTENT_BYTES_MAX:
        raise TooLarge(f"A message must have at most {CONTENT_BYTES_MAX} bytes")
    return encoded


@dataclass(slots=True, kw_only=True)
class _Send:
    """`users` are those who get something."""

    sender: tuple[UserId, str]
    codec: Codec
    key_hash: bytes
    messages: Mapping[UserId, Mapping[str, bytes]]
    policy: ToDevicePolicy
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = (TO_DEVICE,)

    async def store(self, tx: Connection, position: int) -> Dropped:
        self.users = ()
        if not await add_transaction(tx, *self.sender, self.key_hash):
            return NOTHING_DROPPED
        named = [(user_id, device_id) for user_id, of_user in self.messages.items() for device_id in of_user]
        devices = await find_devices(tx, named, [user_id for user_id, device_id in named if device_id == ALL_DEVICES])
        new = []
        for user_id, device_id in devices:
            of_user = self.messages[user_id]
            message = of_user[device_id] if device_id in of_user else of_user[ALL_DEVICES]
            new.append(NewMessage(user_id=user_id, device_id=device_id, message=message))
        size_bytes = sum(len(message.message) for message in new)
        if len(new) > self.policy.per_request_max or size_bytes > self.policy.bytes_per_request_max:
            raise TooLarge("The messages are too many, or too large, for one request")
        self.users = tuple({message.user_id for message in new})
        if not new:
            return NOTHING_DROPPED
        await add_messages(tx, self.codec, self.sender[0], new, position=position)
        return await shorten_queues(tx, devices, per_device_max=self.policy.per_device_max)
