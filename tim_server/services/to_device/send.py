"""Send messages to devices, of this server and of others.

Spec: https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging
"""

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import orjson

from tim_server.matrix.errors import InvalidParam, TooLarge
from tim_server.matrix.identifiers import ID_BYTES_MAX, ServerName, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.to_device.queue import (
    ContentByDevice,
    QueueMessages,
    ToDevicePolicy,
    encode_content,
    message_json,
    report_dropped,
    transaction_hash,
)
from tim_server.services.trust.gate import ChokePoint, TrustGate
from tim_server.storage.codec import Codec
from tim_server.storage.to_device_outbox import OutgoingMessages
from tim_server.storage.writer import Writer

_Row: TypeAlias = tuple[UserId, str, bytes]

EDU_BYTES_MAX = 60_000
"""An EDU holds messages up to this size together; a larger one has an EDU of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToDeviceSender:
    """Puts messages into the queues of devices of this server, and into the outbox for those of others."""

    server_name: ServerName
    writer: Writer
    codec: Codec
    gate: TrustGate
    policy: ToDevicePolicy

    async def send(self, requester: Requester, event_type: str, txn_id: str, messages: ContentByDevice) -> None:
        """Queue the messages, contents by user and device (`*` for all devices), together. A transaction id that the
        device has used before for this type changes nothing. Devices of this server that do not exist get nothing.

        Raises `InvalidParam` for a type that is too long, `TooLarge`, `BadJson`, and `Forbidden` for users of servers
        that this one does not talk to.
        """
        if len(event_type.encode()) > ID_BYTES_MAX:
            raise InvalidParam(f"The type must have at most {ID_BYTES_MAX} bytes")
        if sum(map(len, messages.values())) > self.policy.per_request_max:
            raise TooLarge(f"At most {self.policy.per_request_max} messages can be sent at once")
        await self.gate.require(ChokePoint.CLIENT_REQUEST, {user_id.server_name for user_id in messages})
        sender, device_id = requester.user_id, requester.device_id or ""
        contents = {
            user_id: {device: encode_content(content) for device, content in of_user.items()}
            for user_id, of_user in messages.items()
        }
        write = QueueMessages(
            sender=(sender, device_id),
            codec=self.codec,
            key_hash=transaction_hash(event_type, txn_id),
            messages={
                user_id: {device: message_json(sender, event_type, content) for device, content in of_user.items()}
                for user_id, of_user in contents.items()
                if user_id.server_name == self.server_name
            },
            outgoing=[*self._outgoing(sender, event_type, transaction_hash(device_id, event_type, txn_id), contents)],
            policy=self.policy,
        )
        report_dropped(await self.writer.write(write), self.policy)

    def _outgoing(
        self, sender: UserId, event_type: str, unique: bytes, contents: dict[UserId, dict[str, bytes]]
    ) -> Iterator[OutgoingMessages]:
        """The EDUs for other servers: each holds as many of the messages for a server as its size allows."""
        by_server: dict[ServerName, list[_Row]] = {}
        for user_id, of_user in contents.items():
            if user_id.server_name != self.server_name:
                rows = by_server.setdefault(user_id.server_name, [])
                rows += ((user_id, device_id, content) for device_id, content in of_user.items())
        for destination, rows in by_server.items():
            for number, part in enumerate(_parts(rows)):
                # "Arbitrary utf8 string, of maximum length 32 codepoints", of the sender
                message_id = f"{urlsafe_b64encode(unique[:18]).decode()}.{number}"
                yield OutgoingMessages(destination, _edu_json(sender, event_type, message_id, part))


def _parts(rows: list[_Row]) -> Iterator[list[_Row]]:
    part: list[_Row] = []
    size_bytes = 0
    for row in rows:
        size_bytes += len(row[2])
        if part and size_bytes > EDU_BYTES_MAX:
            yield part
            part, size_bytes = [], len(row[2])
        part.append(row)
    if part:
        yield part


def _edu_json(sender: UserId, event_type: str, message_id: str, rows: list[_Row]) -> bytes:
    messages: dict[str, dict[str, orjson.Fragment]] = {}
    for user_id, device_id, content in rows:
        messages.setdefault(str(user_id), {})[device_id] = orjson.Fragment(content)
    return orjson.dumps({"sender": str(sender), "type": event_type, "message_id": message_id, "messages": messages})
