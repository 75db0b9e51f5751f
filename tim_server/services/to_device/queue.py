"""Putting messages into the queues of devices of this server, in the next commit.

Spec: https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog

from tim_server.matrix.errors import TooLarge
from tim_server.matrix.identifiers import ServerName, UserId
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
from tim_server.storage.to_device_outbox import OutgoingMessages, add_to_outbox

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


def encode_content(content: Mapping[str, Any]) -> bytes:
    """The content of a message as JSON; raises `TooLarge` and `BadJson`."""
    encoded = encode_json(content)
    if len(encoded) > CONTENT_BYTES_MAX:
        raise TooLarge(f"A message must have at most {CONTENT_BYTES_MAX} bytes")
    return encoded


def message_json(sender: UserId, event_type: str, content: bytes) -> bytes:
    """A message as its device gets it."""
    return b'{"sender":%b,"type":%b,"content":%b}' % (orjson.dumps(str(sender)), orjson.dumps(event_type), content)


def transaction_hash(*parts: str) -> bytes:
    """What tells a message of a sender from others, so that it is not queued twice."""
    return hashlib.sha256("\0".join(parts).encode()).digest()


def report_dropped(dropped: Dropped, policy: ToDevicePolicy) -> None:
    """Tell the operator that messages had to make room."""
    if dropped.messages:
        log.warning(
            "messages to devices that do not sync were dropped",
            messages=dropped.messages,
            devices=dropped.devices,
            per_device_max=policy.per_device_max,
        )


@dataclass(slots=True, kw_only=True)
class QueueMessages:
    """A write: `messages` are whole events by user and device of this server, `outgoing` what leaves for others.

    `sender` is a device; of another server's user its id is empty. A `key_hash` that the sender has used before changes
    nothing. `users` and `servers` are those who get something.
    """

    sender: tuple[UserId, str]
    codec: Codec
    key_hash: bytes
    messages: Mapping[UserId, Mapping[str, bytes]]
    policy: ToDevicePolicy
    outgoing: Sequence[OutgoingMessages] = ()
    servers: Mapping[ServerName, frozenset[str]] = field(default_factory=dict)
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = (TO_DEVICE,)

    async def store(self, tx: Connection, position: int) -> Dropped:
        """How many messages had to make room; raises `TooLarge`."""
        self.users, self.servers = (), {}
        if not await add_transaction(tx, *self.sender, self.key_hash):
            return NOTHING_DROPPED
        if self.outgoing:
            await add_to_outbox(tx, self.codec, self.outgoing)
            self.servers = dict.fromkeys((messages.destination for messages in self.outgoing), frozenset({TO_DEVICE}))
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
