"""Putting a transaction together: the next events that a server is owed, and what sources of EDUs owe it.

Events are spliced in as they are stored: own events in canonical form, and so what is signed with the request. They go
as they were signed, also those that are redacted or whose sender was erased by now: the server was in the room when
they were sent, and the redaction comes after them.

Spec: https://spec.matrix.org/v1.19/server-server-api/#transactions
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import orjson

from tim_server.matrix.identifiers import EventId, ServerName
from tim_server.services.transactions.destination import Destination
from tim_server.services.transactions.gather_edus import EduGathering
from tim_server.services.transactions.receive import PDUS_MAX
from tim_server.services.transactions.transaction import OwedPdu, Transaction
from tim_server.storage.commit_log import CommitEntry, OwedEvent
from tim_server.storage.events import load_bodies, load_events
from tim_server.storage.outbox import load_owed
from tim_server.storage.store import Store

EVENTS_PER_READ = 500
PDU_BYTES_MAX = 1_000_000
"""How many bytes the PDUs of a transaction may take together, unless a single one takes more; proxies before other
servers are known to refuse much larger requests."""


@dataclass(slots=True, kw_only=True)
class RecentBodies:
    """The JSON of events that were owed last, by nid; `bytes_max` bounds it."""

    bytes_max: int
    _bodies: "OrderedDict[int, bytes]" = field(default_factory=OrderedDict)
    _bytes: int = 0

    def follow(self, entry: CommitEntry) -> None:
        """Remember the events that anybody is owed."""
        owed = {event.nid for events in entry.owed.values() for event in events}
        for rows in entry.events.values():
            for row in rows:
                if row.nid in owed and row.nid not in self._bodies:
                    self._bodies[row.nid] = row.body
                    self._bytes += len(row.body)
        while self._bytes > self.bytes_max:
            self._bytes -= len(self._bodies.popitem(last=False)[1])

    def find(self, nids: Sequence[int]) -> dict[int, bytes]:
        """Those of the events that are remembered."""
        return {nid: body for nid in nids if (body := self._bodies.get(nid)) is not None}

    def clear(self) -> None:
        """Forget all."""
        self._bodies.clear()
        self._bytes = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Composer:
    """Puts transactions together."""

    server_name: ServerName
    store: Store
    edus: EduGathering
    bodies: RecentBodies
    now_ms: Callable[[], int]

    async def compose(self, destination: Destination) -> Transaction:
        """The next transaction; an empty one where there is nothing to send."""
        events = await self._events(destination, PDUS_MAX)
        pdus, up_to = await self._pdus(events)
        gathered = await self.edus.gather(destination)
        nids = [event.nid for event in events if event.position <= (up_to or 0)]
        return Transaction(
            txn_id=_txn_id(destination.txn_id, nids, b",".join(gathered.edus)),
            origin=self.server_name,
            ts=self.now_ms(),
            pdus=pdus,
            edus=gathered.edus,
            up_to=up_to,
            cursors=gathered.cursors,
        )

    async def event_ids(self, transaction: Transaction) -> list[EventId]:
        """The ids of its events; those that are forgotten meanwhile are left out."""
        async with self.store.database.connection() as connection:
            events = await load_events(connection, self.store.codec, [pdu.nid for pdu in transaction.pdus])
        return [event.event_id for event in events.values()]

    async def _events(self, destination: Destination, count: int) -> list[OwedEvent]:
        waiting = destination.waiting
        if waiting.is_behind and len(waiting.events) < count:
            waiting.begin_read()
            async with self.store.database.connection() as connection:
                read = await load_owed(connection, destination.name, after=waiting.newest, limit=EVENTS_PER_READ)
            waiting.end_read(read, is_all=len(read) < EVENTS_PER_READ)
        return waiting.first(count)

    async def _pdus(self, events: Sequence[OwedEvent]) -> tuple[list[OwedPdu], int | None]:
        """The JSON of as many of the events as fit, and the position of the last of them."""
        found = self.bodies.find([event.nid for event in events])
        missing = [event.nid for event in events if event.nid not in found]
        if missing:
            async with self.store.database.connection() as connection:
                found |= await load_bodies(connection, self.store.codec, missing)
        pdus: list[OwedPdu] = []
        size_bytes, up_to = 0, None
        for event in events:
            body = found.get(event.nid)
            if body is not None:
                size_bytes += len(body)
                if pdus and size_bytes > PDU_BYTES_MAX:
                    break
                pdus.append(OwedPdu(nid=event.nid, position=event.position, body=body))
            up_to = event.position
        return pdus, up_to


def _txn_id(before: str, nids: Sequence[int], edus: bytes) -> str:
    """The id of a transaction: made of that of the transaction before it and of its content, so that it is the same
    when the same is sent again, also by another process, and never that of one that was acknowledged."""
    content = b"%b %b %b" % (before.encode(), orjson.dumps(nids), edus)
    return hashlib.blake2b(content, digest_size=16).hexdigest()
