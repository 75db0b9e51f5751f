"""Log out: tokens go, and with them the device.

Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logout
"""

from dataclasses import dataclass, field

from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.open_session import DEVICES
from tim_server.services.accounts.requester import Requester
from tim_server.services.accounts.token_cache import TOKENS, TokenCache
from tim_server.storage.commit_log import Fact
from tim_server.storage.database import Connection
from tim_server.storage.device_removal import end_sessions, remove_devices
from tim_server.storage.writer import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Logout:
    """Ends sessions."""

    writer: Writer
    token_cache: TokenCache

    async def logout(self, requester: Requester) -> None:
        """Remove the requester's device with all its tokens."""
        if requester.device_id is not None:
            await self._remove(requester.user_id, only=requester.device_id)

    async def logout_all(self, user_id: UserId) -> None:
        """Remove all devices of a user with all their tokens; not the dehydrated device, which has none."""
        await self._remove(user_id)

    async def _remove(self, user_id: UserId, *, only: str | None = None) -> None:
        await self.writer.write(_Remove(users=(user_id,), only=only))
        self.token_cache.drop_user(user_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remove:
    users: tuple[UserId, ...]
    only: str | None
    streams: tuple[str, ...] = (TOKENS, DEVICES)
    facts: list[Fact] = field(default_factory=list)

    async def store(self, tx: Connection, position: int) -> None:
        if self.only is None:
            self.facts[:] = await end_sessions(tx, self.users[0], position)
        else:
            self.facts[:] = await remove_devices(tx, self.users[0], [self.only], position)
