"""Receiving transactions: what other servers push, events of rooms (PDUs) and short-lived data (EDUs).

Rooms are taken in side by side. What is answered is stored: a crash at any moment loses nothing that the other server
was told is received, and a transaction that is repeated gets the same answer.

Spec: https://spec.matrix.org/v1.19/server-server-api/#transactions
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson
import structlog

from tim_server.matrix.errors import InvalidParam, LimitExceeded, Unavailable
from tim_server.matrix.identifiers import ID_BYTES_MAX, EventId, InvalidIdentifier, RoomId, ServerName, UserId
from tim_server.services.rooms.remote.receive_pdus import Outcomes, PduReceiver
from tim_server.services.transactions.edus import DIRECT_TO_DEVICE, EDUS_MAX
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.received_transactions import find_answer, insert_answer
from tim_server.storage.store import Store

PDUS_MAX = 50
"""How many PDUs a transaction may hold."""
RUNNING_PER_ORIGIN_MAX = 5
"""How many transactions of one server are worked on at once: it should wait for the answer to each."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """What a server pushes at once; PDUs and EDUs are not looked at yet."""

    origin: ServerName
    txn_id: str
    pdus: Sequence[Any]
    edus: Sequence[Any]


class ReceivesEdus(Protocol):
    """Takes in short-lived data."""

    async def receive(self, origin: ServerName, edus: Sequence[Any]) -> None:
        """Take in the EDUs, each of which may be anything; bad ones are dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    """A transaction that is worked on, and its answer, which is given a moment before the work is over."""

    answer: "asyncio.Future[bytes]"
    work: "asyncio.Task[None]"


@dataclass(slots=True, kw_only=True)
class TransactionReceiver:
    """Receives transactions, each once."""

    store: Store
    pdus: PduReceiver
    edus: ReceivesEdus | None = None
    _running: dict[tuple[ServerName, str], _Running] = field(default_factory=dict)

    async def receive(self, transaction: Transaction) -> bytes:
        """The answer, as JSON: `{"pdus": {event id: {} or {"error"}}}`.

        Raises `InvalidParam` for a transaction beyond the limits, `LimitExceeded` for too many at once, `Unavailable`.
        """
        _check_bounds(transaction)
        running = self._running.get((transaction.origin, transaction.txn_id)) or self._begin(transaction)
        return await asyncio.shield(running.answer)  # which comes also where the other server does not wait for it

    async def close(self) -> None:
        """Finish what was begun."""
        while self._running:
            await asyncio.wait([running.work for running in self._running.values()])
        await self.pdus.close()

    def _begin(self, transaction: Transaction) -> _Running:
        key = (transaction.origin, transaction.txn_id)
        if sum(origin == transaction.origin for origin, _ in self._running) >= RUNNING_PER_ORIGIN_MAX:
            raise LimitExceeded("Wait for the answers to your other transactions", retry_after_ms=1000)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        work = asyncio.create_task(self._process(transaction, answer), name="transaction")
        work.add_done_callback(lambda _: self._running.pop(key))
        answer.add_done_callback(lambda done: done.exception())  # that nobody waits for it is no matter
        running = self._running[key] = _Running(answer=answer, work=work)
        return running

    async def _process(self, transaction: Transaction, answer: "asyncio.Future[bytes]") -> None:
        codec = self.store.codec
        try:
            async with self.store.database.connection() as connection:
                known = await find_answer(connection, codec, transaction.origin, transaction.txn_id)
            answer.set_result(known or await self._carry_out(transaction))
        except Exception as error:
            answer.set_exception(error)
            return
        # All that counts is stored: what a crash loses here is found out again, event by event, with the same answer.
        try:
            if known is None:
                await self.store.writer.write(_Record(codec=codec, transaction=transaction, answer=answer.result()))
        except Unavailable:
            log.info("the answer to a transaction could not be stored", server=transaction.origin)

    async def _carry_out(self, transaction: Transaction) -> bytes:
        first, then = _in_turn(transaction.edus)
        await self._receive_edus(transaction.origin, first)
        rooms = (
            self.pdus.receive(transaction.origin, room_id, pdus) for room_id, pdus in _by_room(transaction.pdus).items()
        )
        outcomes = await asyncio.gather(*rooms)
        await self._receive_edus(transaction.origin, then)
        return _answer(outcomes)

    async def _receive_edus(self, origin: ServerName, edus: Sequence[Any]) -> None:
        if self.edus is not None and edus:
            await self.edus.receive(origin, edus)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    codec: Codec
    transaction: Transaction
    answer: bytes
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        await insert_answer(tx, self.codec, self.transaction.origin, self.transaction.txn_id, self.answer)


def _in_turn(edus: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """What is taken in before the events and what after them: keys before the messages that they decrypt, and receipts
    and typing of somebody after that person's join."""
    first: list[Any] = []
    then: list[Any] = []
    for edu in edus:
        is_to_device = isinstance(edu, dict) and edu.get("edu_type") == DIRECT_TO_DEVICE
        (first if is_to_device else then).append(edu)
    return first, then


def _check_bounds(transaction: Transaction) -> None:
    if len(transaction.txn_id.encode()) > ID_BYTES_MAX:
        raise InvalidParam(f"A transaction id must have at most {ID_BYTES_MAX} bytes")
    if len(transaction.pdus) > PDUS_MAX or len(transaction.edus) > EDUS_MAX:
        raise InvalidParam(f"A transaction must have at most {PDUS_MAX} PDUs and {EDUS_MAX} EDUs")


def _by_room(pdus: Sequence[Any]) -> dict[RoomId, list[Any]]:
    """The PDUs by the room that they say to be of; what says none is nothing that could be answered for."""
    rooms: dict[RoomId, list[Any]] = {}
    for pdu in pdus:
        room_id = pdu.get("room_id") if isinstance(pdu, dict) else None
        try:
            if isinstance(room_id, str):
                rooms.setdefault(RoomId.parse(room_id), []).append(pdu)
        except InvalidIdentifier:
            continue
    return rooms


def _answer(outcomes: Sequence[Outcomes]) -> bytes:
    told: dict[EventId, dict[str, str]] = {
        event_id: {} if error is None else {"error": error}
        for of_room in outcomes
        for event_id, error in of_room.items()
    }
    return orjson.dumps({"pdus": {str(event_id): outcome for event_id, outcome in told.items()}})
