"""Messages to devices that other servers push, as `m.direct_to_device` EDUs.

Spec: https://spec.matrix.org/v1.19/server-server-api/#send-to-device-messaging
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import MatrixError, Unavailable
from tim_server.matrix.events.read import is_key_storable
from tim_server.matrix.identifiers import InvalidIdentifier, ServerName, UserId
from tim_server.services.to_device.queue import (
    QueueMessages,
    ToDevicePolicy,
    encode_content,
    message_json,
    report_dropped,
    transaction_hash,
)
from tim_server.storage.codec import Codec
from tim_server.storage.writer import Writer

MESSAGE_ID_LENGTH_MAX = 255
"""The specification says 32; others have been seen to use more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToDeviceReceiver:
    """Queues what other servers push for devices of this server, each message once."""

    server_name: ServerName
    writer: Writer
    codec: Codec
    policy: ToDevicePolicy

    async def receive(self, origin: ServerName, contents: Sequence[Mapping[str, Any]]) -> None:
        """Queue the messages of these EDUs, in order, in one commit; what is not as it should be is dropped."""
        writes = [write for content in contents if (write := self._read(origin, content)) is not None]
        for outcome in await asyncio.gather(*map(self.writer.write, writes), return_exceptions=True):
            if isinstance(outcome, BaseException):
                if not isinstance(outcome, MatrixError) or isinstance(outcome, Unavailable):
                    raise outcome  # and the other server sends them again
            else:
                report_dropped(outcome, self.policy)

    def _read(self, origin: ServerName, content: Mapping[str, Any]) -> QueueMessages | None:
        """What an EDU asks for; None where it can't be taken, as from a sender of another server."""
        try:
            sender = UserId.parse(content["sender"])
            event_type, message_id = content["type"], content["message_id"]
            if sender.server_name != origin or not is_key_storable(event_type) or not is_key_storable(message_id):
                return None
            messages = {
                UserId.parse(user_id): {
                    device_id: message_json(sender, event_type, encode_content(message))
                    for device_id, message in of_user.items()
                    if is_key_storable(device_id) and isinstance(message, dict)
                }
                for user_id, of_user in content["messages"].items()
            }
        except (InvalidIdentifier, KeyError, TypeError, AttributeError, MatrixError):
            return None
        own = {user_id: of_user for user_id, of_user in messages.items() if user_id.server_name == self.server_name}
        if sum(map(len, own.values())) > self.policy.per_request_max:
            return None
        return QueueMessages(
            sender=(sender, ""),
            codec=self.codec,
            key_hash=transaction_hash(message_id),
            messages=own,
            policy=self.policy,
        )
