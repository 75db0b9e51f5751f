"""Messages to devices that other servers push, as `m.direct_to_device` EDUs.

Spec: https://spec.matrix.org/v1.19/server-server-api/#send-to-device-messaging
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
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
from tim_server.services.turns import in_turns
from tim_server.storage.codec import Codec
from tim_server.storage.writer import Writer

MESSAGES_PER_COMMIT = 1_000
"""Once there are so many they are stored: what others write waits no longer than for these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToDeviceReceiver:
    """Queues what other servers push for devices of this server, each message once."""

    server_name: ServerName
    writer: Writer
    codec: Codec
    policy: ToDevicePolicy

    async def receive(self, origin: ServerName, contents: Sequence[Mapping[str, Any]]) -> None:
        """Queue the messages of these EDUs, in order, as a rule in one commit; what is not as it should be is dropped.
        Of those for thousands each has its turn."""
        writes: list[QueueMessages] = []
        messages = 0
        async for content in in_turns(contents, per_turn=1):
            write = self._read(origin, content)
            if write is not None:
                writes.append(write)
                messages += sum(map(len, write.messages.values()))
            if messages >= MESSAGES_PER_COMMIT:
                await self._queue(writes)
                writes, messages = [], 0
        await self._queue(writes)

    async def _queue(self, writes: Sequence[QueueMessages]) -> None:
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
            event_type, message_id, by_user = content["type"], content["message_id"], content["messages"]
            is_as_it_should_be = is_key_storable(event_type) and is_key_storable(message_id)
        except (InvalidIdentifier, KeyError, AttributeError):
            return None
        if not is_as_it_should_be or not isinstance(by_user, dict):
            return None
        own = self._own_users(by_user)
        if sender.server_name != origin or sum(map(len, own.values())) > self.policy.per_request_max:
            return None
        return QueueMessages(
            sender=(sender, ""),
            codec=self.codec,
            key_hash=transaction_hash(message_id),
            messages={user_id: _messages(sender, event_type, of_user) for user_id, of_user in own.items()},
            policy=self.policy,
        )

    def _own_users(self, by_user: Mapping[str, Any]) -> dict[UserId, Mapping[str, Any]]:
        """What is for users of this server. That there are some whose id is none takes nothing from the others."""
        own: dict[UserId, Mapping[str, Any]] = {}
        for text, by_device in by_user.items():
            with suppress(InvalidIdentifier):
                user_id = UserId.parse(text)
                if user_id.server_name == self.server_name and isinstance(by_device, dict):
                    own[user_id] = by_device
        return own


def _messages(sender: UserId, event_type: str, by_device: Mapping[str, Any]) -> dict[str, bytes]:
    """Whole messages by device; those that no device could be given are left out."""
    messages: dict[str, bytes] = {}
    for device_id, content in by_device.items():
        if is_key_storable(device_id) and isinstance(content, dict):
            with suppress(MatrixError):
                messages[device_id] = message_json(sender, event_type, encode_content(content))
    return messages
