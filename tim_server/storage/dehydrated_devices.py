"""Dehydrated devices: which of a user's devices is one, and the data that brings it back to life.

A dehydrated device is a row of `devices` like others, but nobody is logged in with it: what ends sessions lets it be.

Not derived from the event log. Spec: https://github.com/matrix-org/matrix-spec-proposals/pull/3814
"""

from collections.abc import Sequence
from typing import NamedTuple

from tim_server.matrix.identifiers import UserId
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="dehydrated_devices",
        owner="services.devices",
        bound="one row a user, of up to 128 KiB",
        reaper="removal of the device, deactivation of the account",
    ),
)


class DehydratedDevice(NamedTuple):
    """The device, and its encrypted private part as JSON."""

    device_id: str
    device_data: bytes


FIND_DEHYDRATED_DEVICE = "SELECT device_id, device_data FROM dehydrated_devices WHERE user_id = $1"


async def find_dehydrated_device(tx: Connection, codec: Codec, user_id: UserId) -> DehydratedDevice | None:
    """The user's dehydrated device, if there is one."""
    row = await tx.fetchrow(FIND_DEHYDRATED_DEVICE, user_id)
    return None if row is None else DehydratedDevice(row["device_id"], codec.decode(row["device_data"]))


PUT_DEHYDRATED_DEVICE = """
INSERT INTO dehydrated_devices (user_id, device_id, device_data) VALUES ($1, $2, $3)
ON CONFLICT (user_id) DO UPDATE SET device_id = $2, device_data = $3
"""


async def put_dehydrated_device(tx: Connection, codec: Codec, user_id: UserId, device: DehydratedDevice) -> None:
    """Make this the user's dehydrated device."""
    await tx.execute(PUT_DEHYDRATED_DEVICE, user_id, device.device_id, codec.encode(device.device_data))


DELETE_DEHYDRATED_DEVICES = "DELETE FROM dehydrated_devices WHERE user_id = $1 AND device_id = ANY($2::text[])"


async def delete_dehydrated_devices(tx: Connection, user_id: UserId, device_ids: Sequence[str]) -> None:
    """Those of the devices that are dehydrated are gone."""
    await tx.execute(DELETE_DEHYDRATED_DEVICES, user_id, device_ids)
