"""Asking other servers for single events, and for the state of a room before an event.

Spec: https://spec.matrix.org/v1.19/server-server-api/#retrieving-events
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tim_server.federation.arriving_object import ArrivingObject, Item, MalformedAnswer
from tim_server.federation.client import FederationClient, RequestBounds, path_of
from tim_server.federation.errors import RemoteError
from tim_server.matrix.events.read import PDU_BYTES_MAX
from tim_server.matrix.identifiers import EventId, InvalidIdentifier, RoomId, ServerName

EVENT_BOUNDS = RequestBounds(timeout_s=10.0, size_bytes_max=2 * PDU_BYTES_MAX)
STATE_IDS_BOUNDS = RequestBounds(timeout_s=60.0, size_bytes_max=50 * 2**20, containers_max=100_000)
STATE_BOUNDS = RequestBounds(timeout_s=300.0, size_bytes_max=100 * 2**20)
STATE_EVENTS_MAX = 500_000
"""How many events a state and its auth chain may have."""
IDS_PER_TURN = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StateIds:
    """The ids of the events of a state, and of its auth chain."""

    pdu_ids: Sequence[EventId]
    auth_chain_ids: Sequence[EventId]


@dataclass(slots=True, kw_only=True)
class StatePdus:
    """A state and its auth chain, each the JSON of PDUs as they came. Nothing of it is checked."""

    pdus: list[bytes] = field(default_factory=list)
    auth_chain: list[bytes] = field(default_factory=list)


async def event(client: FederationClient, destination: ServerName, event_id: EventId) -> Any:
    """`GET /_matrix/federation/v1/event/{eventId}`: the PDU, of which nothing is checked, not even that it is an
    object.

    Raises `RemoteError` and what `egress` raises.
    """
    path = path_of("/_matrix/federation/v1/event/{}", event_id)
    answer = await client.get(destination, path, bounds=EVENT_BOUNDS)
    pdus = answer.get("pdus")
    if not isinstance(pdus, list) or not pdus:
        raise RemoteError.malformed(destination, "the answer has no event")
    return pdus[0]


async def state_ids(client: FederationClient, destination: ServerName, room_id: RoomId, event_id: EventId) -> StateIds:
    """`GET /_matrix/federation/v1/state_ids/{roomId}`: the state before an event.

    Raises `RemoteError` and what `egress` raises.
    """
    path = path_of("/_matrix/federation/v1/state_ids/{}", room_id)
    answer = await client.get(destination, path, {"event_id": event_id}, bounds=STATE_IDS_BOUNDS)
    pdu_ids, auth_chain_ids = answer.get("pdu_ids"), answer.get("auth_chain_ids")
    if not isinstance(pdu_ids, list) or not isinstance(auth_chain_ids, list):
        raise RemoteError.malformed(destination, "the answer has no lists of ids")
    if len(pdu_ids) + len(auth_chain_ids) > STATE_EVENTS_MAX:
        raise RemoteError.malformed(destination, f"the answer names more than {STATE_EVENTS_MAX} events")
    try:
        return StateIds(pdu_ids=await _read_ids(pdu_ids), auth_chain_ids=await _read_ids(auth_chain_ids))
    except (InvalidIdentifier, AttributeError):
        raise RemoteError.malformed(destination, "an id in the answer is none") from None


async def _read_ids(values: Sequence[Any]) -> list[EventId]:
    """The ids, of which there may be so many that others get a turn meanwhile."""
    ids: list[EventId] = []
    for start in range(0, len(values), IDS_PER_TURN):
        ids += map(EventId.parse, values[start : start + IDS_PER_TURN])
        await asyncio.sleep(0)
    return ids


async def state(client: FederationClient, destination: ServerName, room_id: RoomId, event_id: EventId) -> StatePdus:
    """`GET /_matrix/federation/v1/state/{roomId}`: the state before an event, read as it arrives.

    Raises `RemoteError` and what `egress` raises.
    """
    path = path_of("/_matrix/federation/v1/state/{}", room_id)
    told = StatePdus()
    reader = ArrivingObject(arrays=("pdus", "auth_chain"))
    async with client.stream(
        "GET", destination, f"{path}?event_id={path_of('{}', event_id)}", bounds=STATE_BOUNDS
    ) as response:
        if response.status != 200:
            raise RemoteError.of(destination, response.status, None)
        try:
            async for chunk in response.chunks:
                for item in reader.feed(chunk):
                    _take(told, item)
            for item in reader.end():
                _take(told, item)
        except MalformedAnswer as error:
            raise RemoteError.malformed(destination, str(error)) from None
    return told


def _take(told: StatePdus, item: Item) -> None:
    (told.pdus if item.array == "pdus" else told.auth_chain).append(item.json)
    if len(told.pdus) + len(told.auth_chain) > STATE_EVENTS_MAX:
        raise MalformedAnswer(f"it holds more than {STATE_EVENTS_MAX} events")
