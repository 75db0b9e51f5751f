"""Events as other servers get them: ids and bodies of many, without what only clients are told. Reads `events`."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from tim_server.matrix.identifiers import EventId, UserId
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection


class Pdu(NamedTuple):
    """The PDU of an event, decoded by the codec, and what decides in which form it is told. A tuple, because the state
    of a room has thousands."""

    nid: int
    sender: UserId
    redacted_by: int | None
    body: bytes


LOAD_PDUS = "SELECT nid, sender, redacted_by, body FROM events WHERE nid = ANY($1)"


async def load_pdus(tx: Connection, codec: Codec, nids: Sequence[int]) -> list[Pdu]:
    """These events, in no order; those that are not stored are left out."""
    decode = codec.decode
    rows = await tx.fetch(LOAD_PDUS, nids)
    return [Pdu(nid, UserId(sender), redacted_by, decode(body)) for nid, sender, redacted_by, body in rows]


LOAD_EVENT_IDS = "SELECT event_id FROM events WHERE nid = ANY($1) ORDER BY nid"


async def load_event_ids(tx: Connection, nids: Collection[int]) -> list[EventId]:
    """The ids of these events; those that are not stored are left out."""
    return [EventId(row["event_id"]) for row in await tx.fetch(LOAD_EVENT_IDS, list(nids))]
