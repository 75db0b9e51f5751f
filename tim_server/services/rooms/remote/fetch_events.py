"""Fetching single events from a server and storing them as outliers, with what authorises them.

Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1eventeventid
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tim_server.federation import events
from tim_server.federation.client import FederationClient
from tim_server.federation.errors import RemoteError
from tim_server.matrix.identifiers import EventId, ServerName
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.remote.check_pdus import PduCheck
from tim_server.services.rooms.remote.outliers import Outliers

AT_ONCE = 20
EVENTS_MAX = 200
"""How many events are fetched one by one for one purpose."""
ROUNDS_MAX = 4
"""How far what authorises an event is followed, before the state of the room is asked for instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFetch:
    """Fetches events of one room that lack here."""

    client: FederationClient
    check: PduCheck
    outliers: Outliers

    async def fetch(self, head: RoomHead, server: ServerName, event_ids: Iterable[EventId]) -> None:
        """Have those of the events stored that the server gives and that pass the checks, at most `EVENTS_MAX`."""
        wanted, asked = list(dict.fromkeys(event_ids)), set[EventId]()
        kept: list[Any] = []
        for _ in range(ROUNDS_MAX):
            wanted = wanted[: EVENTS_MAX - len(asked)]
            if not wanted:
                return
            asked.update(wanted)
            kept += (await self.check.check(await self._ask(server, wanted), head.version, head.room_id)).events
            missing = (await self.outliers.keep(head.nid, head.version, kept)).missing
            wanted = [event_id for event_id in missing if event_id not in asked]

    async def _ask(self, server: ServerName, event_ids: Sequence[EventId]) -> list[Any]:
        """The PDUs that the server gives. Raises what `egress` raises once nothing more can be had of it."""
        free = asyncio.Semaphore(AT_ONCE)

        async def ask(event_id: EventId) -> Any:
            async with free:
                return await events.event(self.client, server, event_id)

        answers = await asyncio.gather(*(ask(event_id) for event_id in event_ids), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, RemoteError):
                raise answer
        return [answer for answer in answers if not isinstance(answer, BaseException)]
