"""Asking other servers for a room's history.

Spec: https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tim_server.federation.client import FederationClient, RequestBounds, path_of
from tim_server.federation.errors import RemoteError
from tim_server.matrix.events.read import PDU_BYTES_MAX
from tim_server.matrix.identifiers import EventId, InvalidIdentifier, RoomId, ServerName

BACKFILL_TIMEOUT_S = 20.0
MISSING_EVENTS_TIMEOUT_S = 20.0
BY_TIME_BOUNDS = RequestBounds(timeout_s=10.0, size_bytes_max=16 * 1024, can_do_without=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """Which events are asked for: what leads to the `latest`, back to the `earliest`."""

    latest: Sequence[EventId]
    earliest: Sequence[EventId]


async def backfill(
    client: FederationClient, destination: ServerName, room_id: RoomId, event_ids: Sequence[EventId], *, limit: int
) -> list[Any]:
    """`GET /_matrix/federation/v1/backfill/{roomId}`: these events and what precedes them, as PDUs of which nothing is
    checked, not even that they are objects; at most `limit`.

    Raises `RemoteError` and what `egress` raises.
    """
    answer = await client.get(
        destination,
        path_of("/_matrix/federation/v1/backfill/{}", room_id),
        {"v": event_ids, "limit": str(limit)},
        bounds=RequestBounds(timeout_s=BACKFILL_TIMEOUT_S, size_bytes_max=limit * PDU_BYTES_MAX, can_do_without=True),
    )
    pdus = answer.get("pdus")
    if not isinstance(pdus, list):
        raise RemoteError.malformed(destination, "the answer has no list of PDUs")
    return pdus[:limit]


async def missing_events(
    client: FederationClient, destination: ServerName, room_id: RoomId, between: Between, *, limit: int
) -> list[Any]:
    """`POST /_matrix/federation/v1/get_missing_events/{roomId}`: events that come before the latest and not before the
    earliest, as PDUs of which nothing is checked, not even that they are objects; at most `limit`.

    Raises `RemoteError` and what `egress` raises.
    """
    answer = await client.post(
        destination,
        path_of("/_matrix/federation/v1/get_missing_events/{}", room_id),
        {"earliest_events": [*between.earliest], "latest_events": [*between.latest], "limit": limit, "min_depth": 0},
        bounds=RequestBounds(timeout_s=MISSING_EVENTS_TIMEOUT_S, size_bytes_max=limit * PDU_BYTES_MAX),
    )
    events = answer.get("events")
    if not isinstance(events, list):
        raise RemoteError.malformed(destination, "the answer has no list of events")
    return events[:limit]


async def event_by_time(
    client: FederationClient, destination: ServerName, room_id: RoomId, ts: int, *, backwards: bool
) -> tuple[EventId, int]:
    """`GET /_matrix/federation/v1/timestamp_to_event/{roomId}`: the event that is nearest to a time in one direction,
    and its own time, both in milliseconds since the epoch, as the other server says.

    Raises `RemoteError`, also where there is none, and what `egress` raises.
    """
    answer = await client.get(
        destination,
        path_of("/_matrix/federation/v1/timestamp_to_event/{}", room_id),
        {"ts": str(ts), "dir": "b" if backwards else "f"},
        bounds=BY_TIME_BOUNDS,
    )
    event_id, sent_ts = answer.get("event_id"), answer.get("origin_server_ts")
    try:
        if not isinstance(event_id, str) or not isinstance(sent_ts, int) or isinstance(sent_ts, bool):
            raise RemoteError.malformed(destination, "the answer has no event")
        return EventId.parse(event_id), sent_ts
    except InvalidIdentifier:
        raise RemoteError.malformed(destination, "the answer has no event") from None
