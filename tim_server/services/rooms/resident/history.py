"""Tell other servers of a room's history: what precedes events, and what lies between those that they know.

Spec: https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tim_server.matrix.identifiers import EventId, RoomId, ServerName
from tim_server.services.events.client_format import visible_pdu
from tim_server.services.events.server_visibility import ServerVisibility
from tim_server.services.rooms.resident.admit import Admission, Admitted
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, Database
from tim_server.storage.event_graph import Between, walk_backwards, walk_between
from tim_server.storage.events import load_events

EVENT_IDS_MAX = 500
"""How many events a request may start from, or end at; others are not looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingEvents:
    """What a server asks for that lacks events: those before `latest`, less those that it has."""

    latest: Sequence[str]
    earliest: Sequence[str]
    limit: int
    depth_min: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidentHistory:
    """Answers what is asked about history; `limit_max` bounds an answer."""

    admission: Admission
    database: Database
    codec: Codec
    visibility: ServerVisibility
    limit_max: int = 100

    async def before(
        self, origin: ServerName, room_id: RoomId, event_ids: Sequence[EventId], limit: int
    ) -> list[bytes]:
        """The PDUs of these events and of what precedes them, nearest first. Raises `NotFound` unless this server is
        or was in the room, `Forbidden` for servers that never were."""
        admitted = await self.admission.to_history(room_id, origin)
        async with self.database.read() as tx:
            nids = await walk_backwards(
                tx, admitted.head.nid, event_ids[:EVENT_IDS_MAX], limit=min(limit, self.limit_max)
            )
            return await self._pdus(tx, admitted, nids)

    async def missing(self, origin: ServerName, room_id: RoomId, wanted: MissingEvents) -> list[bytes]:
        """The PDUs of the events that are asked for, oldest first. Raises as `before` does."""
        admitted = await self.admission.to_history(room_id, origin)
        between = Between(
            latest=wanted.latest[:EVENT_IDS_MAX],
            earliest=wanted.earliest[:EVENT_IDS_MAX],
            depth_min=wanted.depth_min,
        )
        async with self.database.read() as tx:
            nids = await walk_between(tx, admitted.head.nid, between, limit=min(wanted.limit, self.limit_max))
            return await self._pdus(tx, admitted, nids[::-1])

    async def _pdus(self, tx: Connection, admitted: Admitted, nids: Collection[int]) -> list[bytes]:
        """What the server is given of these events, order kept: nothing that was rejected, and nothing of which only
        others have told."""
        rows = await load_events(tx, self.codec, nids)
        told = [rows[nid] for nid in nids if nid in rows]
        told = [row for row in told if row.rejected is None and row.snapshot is not None]
        served = await self.visibility.served(tx, admitted.asking, told)
        return [visible_pdu(row, admitted.head.version) for row in served]
