"""Messages to devices, which wait here until the device has them. Not derived from the event log.

Messages of a device stand in the order `(position, number)`: the commit that brought them, and their place in it.
They go when the device comes back with a token that covers them, and with the device.

Spec: https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tim_server.matrix.identifiers import UserId
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="to_device_messages",
        owner="services.to_device",
        bound="limits.to_device_messages_per_device_max rows a device, of up to 64 KiB",
        reaper="sync with a token that covers them; the bound, of which the oldest go; removal of the device",
    ),
    TableContract(
        name="to_device_transactions",
        owner="services.to_device",
        bound="one row a request to send, for a week",
        reaper="storage.to_device.reap; removal of the device",
    ),
)


class MessagePlace(NamedTuple):
    """A message's place in the order of its device."""

    position: int
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message for a device; `message` is the whole event as JSON."""

    user_id: UserId
    device_id: str
    message: bytes


ADD_TRANSACTION = """
INSERT INTO to_device_transactions (user_id, device_id, key_hash) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
RETURNING true
"""


async def add_transaction(tx: Connection, user_id: UserId, device_id: str, key_hash: bytes) -> bool:
    """Record a transaction id of the sender; False where it is known."""
    return await tx.fetchval(ADD_TRANSACTION, user_id, device_id, key_hash) is not None


ADD_MESSAGES = """
INSERT INTO to_device_messages (user_id, device_id, position, message)
SELECT new.user_id, new.device_id, $1, new.message
FROM unnest($2::text[], $3::text[], $4::bytea[]) WITH ORDINALITY AS new (user_id, device_id, message, number)
ORDER BY new.number
"""
FIND_BEYOND = """
SELECT wanted.user_id, wanted.device_id, beyond.position, beyond.number
FROM unnest($1::text[], $2::text[]) AS wanted (user_id, device_id)
CROSS JOIN LATERAL (
    SELECT position, number FROM to_device_messages
    WHERE user_id = wanted.user_id AND device_id = wanted.device_id
    ORDER BY position DESC, number DESC OFFSET $3 LIMIT 1
) AS beyond
"""
DELETE_BEYOND = """
DELETE FROM to_device_messages AS m
USING unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) AS beyond (user_id, device_id, position, number)
WHERE m.user_id = beyond.user_id AND m.device_id = beyond.device_id
  AND (m.position, m.number) <= (beyond.position, beyond.number)
"""


async def add_messages(
    tx: Connection, codec: Codec, messages: Sequence[NewMessage], *, position: int, per_device_max: int
) -> None:
    """Append messages; of a device that has too many the oldest go."""
    user_ids, device_ids = [m.user_id for m in messages], [m.device_id for m in messages]
    await tx.execute(ADD_MESSAGES, position, user_ids, device_ids, [codec.encode(m.message) for m in messages])
    beyond = await tx.fetch(FIND_BEYOND, user_ids, device_ids, per_device_max)
    if beyond:
        await tx.execute(DELETE_BEYOND, *zip(*beyond, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """A message that waits: its place, and the event as JSON."""

    place: MessagePlace
    message: bytes


LOAD_MESSAGES = """
SELECT position, number, message FROM to_device_messages
WHERE user_id = $1 AND device_id = $2 AND (position, number) > ($3, $4) AND position <= $5
ORDER BY position, number LIMIT $6
"""


async def load_messages(
    tx: Connection, codec: Codec, owner: tuple[UserId, str], *, after: MessagePlace, up_to: int, limit: int
) -> list[StoredMessage]:
    """The messages of a device after a place and up to a position, oldest first."""
    rows = await tx.fetch(LOAD_MESSAGES, *owner, *after, up_to, limit)
    return [
        StoredMessage(place=MessagePlace(row["position"], row["number"]), message=codec.decode(row["message"]))
        for row in rows
    ]


HAS_DELIVERED = """
SELECT EXISTS (
    SELECT FROM to_device_messages WHERE user_id = $1 AND device_id = $2 AND (position, number) <= ($3, $4)
)
"""


async def has_messages_up_to(tx: Connection, owner: tuple[UserId, str], place: MessagePlace) -> bool:
    """Whether the device has messages up to this place."""
    found: bool = await tx.fetchval(HAS_DELIVERED, *owner, *place)
    return found


DELETE_MESSAGES_UP_TO = """
DELETE FROM to_device_messages WHERE user_id = $1 AND device_id = $2 AND (position, number) <= ($3, $4)
"""


async def delete_messages_up_to(tx: Connection, owner: tuple[UserId, str], place: MessagePlace) -> None:
    """Remove the messages that the device has."""
    await tx.execute(DELETE_MESSAGES_UP_TO, *owner, *place)


DELETE_MESSAGES_OF_DEVICES = """
WITH gone AS (DELETE FROM to_device_transactions WHERE user_id = $1 AND device_id = ANY($2::text[]))
DELETE FROM to_device_messages WHERE user_id = $1 AND device_id = ANY($2::text[])
"""


async def delete_messages_of_devices(tx: Connection, user_id: UserId, device_ids: Sequence[str]) -> None:
    """Remove what waits for these devices, and the transaction ids that they used."""
    await tx.execute(DELETE_MESSAGES_OF_DEVICES, user_id, device_ids)


REAP_TRANSACTIONS = "DELETE FROM to_device_transactions WHERE created_at < clock_timestamp() - interval '7 days'"


async def reap(tx: Connection) -> None:
    """Remove transaction ids older than a week."""
    await tx.execute(REAP_TRANSACTIONS)
