"""Removing devices with all that is theirs. Owns no table."""

from collections.abc import Sequence

from tim_server.matrix.identifiers import UserId
from tim_server.storage.access_tokens import revoke_devices
from tim_server.storage.commit_log import Fact
from tim_server.storage.database import Connection
from tim_server.storage.dehydrated_devices import delete_dehydrated_devices
from tim_server.storage.device_lists import mark_changed
from tim_server.storage.devices import delete_devices, list_device_ids, list_devices_with_sessions
from tim_server.storage.one_time_keys import delete_keys_for_claims
from tim_server.storage.to_device import delete_messages_of_devices


async def remove_devices(tx: Connection, user_id: UserId, device_ids: Sequence[str], position: int) -> list[Fact]:
    """Remove devices: their tokens, their keys, and what waits for them. The facts to tell those who share a room with
    the user; none where there were no such devices."""
    if not device_ids:
        return []
    await revoke_devices(tx, user_id, device_ids)
    await delete_keys_for_claims(tx, user_id, device_ids)
    await delete_messages_of_devices(tx, user_id, device_ids)
    await delete_dehydrated_devices(tx, user_id, device_ids)
    gone = await delete_devices(tx, user_id, device_ids)
    return await mark_changed(tx, user_id, position, gone[0] if len(gone) == 1 else None) if gone else []


async def end_sessions(tx: Connection, user_id: UserId, position: int, *, kept: str | None = None) -> list[Fact]:
    """As `remove_devices`, for all devices of a user except one, and except the dehydrated device."""
    device_ids = [device_id for device_id in await list_devices_with_sessions(tx, user_id) if device_id != kept]
    return await remove_devices(tx, user_id, device_ids, position)


async def remove_all_devices(tx: Connection, user_id: UserId, position: int) -> list[Fact]:
    """As `remove_devices`, for all devices of a user."""
    return await remove_devices(tx, user_id, await list_device_ids(tx, user_id), position)
