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
        reaper="sync with a token that covers them; the bound, of which each sender's oldest go; removal of the device",
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
INSERT INTO to_device_messages (user_id, device_id, position, sender, message)
SELECT new.user_id, new.device_id, $1, $2, new.message
FROM unnest($3::text[], $4::text[], $5::bytea[]) WITH ORDINALITY AS new (user_id, device_id, message, number)
ORDER BY new.number
"""


async def add_messages(
    tx: Connection, codec: Codec, sender: UserId, messages: Sequence[NewMessage], *, position: int
) -> None:
    """Append messages of one sender."""
    user_ids, device_ids = [m.user_id for m in messages], [m.device_id for m in messages]
    await tx.execute(ADD_MESSAGES, position, sender, user_ids, device_ids, [codec.encode(m.message) for m in messages])


FIND_FULL_QUEUES = """
SELECT wanted.user_id, wanted.device_id FROM unnest($1::text[], $2::text[]) AS wanted (user_id, device_id)
WHERE EXISTS (
    SELECT FROM to_device_messages WHERE user_id = wanted.user_id AND device_id = wanted.device_id OFFSET $3
)
"""
SHORTEN_QUEUES = """
WITH of_senders AS (
    SELECT user_id, device_id, position, number, row_number() OVER (
        PARTITION BY user_id, device_id, sender ORDER BY position DESC, number DESC
    ) AS age
    FROM unnest($1::text[], $2::text[]) AS wanted (user_id, device_id)
    JOIN to_device_messages USING (user_id, device_id)
), in_turn AS (
    SELECT user_id, device_id, position, number, row_number() OVER (
        PARTITION BY user_id, device_id ORDER BY age, position DESC, number DESC
    ) AS place
    FROM of_senders
)
DELETE FROM to_device_messages AS m USING in_turn
WHERE in_turn.place > $3
  AND (m.user_id, m.device_id, m.position, m.number)
    = (in_turn.user_id, in_turn.device_id, in_turn.position, in_turn.number)
RETURNING m.user_id, m.device_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """How many messages had to make room, and of how many devices."""

    messages: int
    devices: int


NOTHING_DROPPED = Dropped(messages=0, devices=0)


async def shorten_queues(tx: Connection, devices: Sequence[tuple[UserId, str]], *, per_device_max: int) -> Dropped:
    """Have the queues of these devices, each named once, keep within the bound.

    Of one that is too long the senders who have the most messages there lose their oldest, so that nobody's messages
    are pushed out by another who sends more. A hundredth of the bound goes at once, since it costs a look at all.
    """
    full = await tx.fetch(FIND_FULL_QUEUES, *zip(*devices, strict=True), per_device_max)
    if not full:
        return NOTHING_DROPPED
    rows = await tx.fetch(SHORTEN_QUEUES, *zip(*full, strict=True), per_device_max - per_device_max // 100)
    return Dropped(messages=len(rows), devices=len(full))


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
