"""What other servers tell when keys or devices of their users change: `m.device_list_update`, `m.signing_key_update`.

Spec: https://spec.matrix.org/v1.19/server-server-api/#device-management
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tim_server.matrix.identifiers import InvalidIdentifier, ServerName, UserId
from tim_server.storage.commit_log import Fact
from tim_server.storage.database import Connection
from tim_server.storage.device_lists import mark_remote_changed
from tim_server.storage.writer import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceListReceiver:
    """Notes whose keys have changed: what is remembered of them is stale, and those who share rooms with them are
    told."""

    writer: Writer

    async def receive(self, origin: ServerName, contents: Sequence[Mapping[str, Any]]) -> None:
        """Take in these EDUs; those about users of other servers are dropped."""
        users = {user_id for content in contents if (user_id := _user_of(content, origin)) is not None}
        if users:
            await self.writer.write(_MarkChanged(changed=sorted(users)))


def _user_of(content: Mapping[str, Any], origin: ServerName) -> UserId | None:
    try:
        user_id = UserId.parse(content["user_id"])
    except (InvalidIdentifier, KeyError, TypeError, AttributeError):
        return None
    return user_id if user_id.server_name == origin else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _MarkChanged:
    changed: Sequence[UserId]
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()
    facts: list[Fact] = field(default_factory=list)

    async def store(self, tx: Connection, position: int) -> None:
        self.facts[:] = await mark_remote_changed(tx, self.changed, position)
