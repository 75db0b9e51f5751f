"""Log out: tokens go, and with them the device.

Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logout
"""

from dataclasses import dataclass

from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.open_session import DEVICES
from tim_server.services.accounts.requester import Requester
from tim_server.services.accounts.token_cache import TOKENS, TokenCache
from tim_server.storage.access_tokens import revoke_devices
from tim_server.storage.database import Connection
from tim_server.storage.devices import delete_devices, list_devices
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
        """Remove all devices of a user with all their tokens."""
        await self._remove(user_id)

    async def _remove(self, user_id: UserId, *, only: str | None = None) -> None:
        await self.writer.write(_Remove(users=(user_id,), only=only))
        self.token_cache.drop_user(user_id)


async def remove_devices(tx: Connection, user_id: UserId, *, kept: str | None = None) -> None:
    """Remove the devices of a user, except one, with their tokens."""
    device_ids = [device.device_id for device in await list_devices(tx, user_id) if device.device_id != kept]
    await revoke_devices(tx, user_id, device_ids)
    await delete_devices(tx, user_id, device_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remove:
    users: tuple[UserId, ...]
    only: str | None
    streams: tuple[str, ...] = (TOKENS, DEVICES)

    async def store(self, tx: Connection, position: int) -> None:
        if self.only is None:
            await remove_devices(tx, self.users[0])
            return
        await revoke_devices(tx, self.users[0], [self.only])
        await delete_devices(tx, self.users[0], [self.only])
