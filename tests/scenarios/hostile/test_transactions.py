"""Transactions that come twice, in any order, too many at once, or never end; and requests that are not signed as they
should be.

Spec: https://spec.matrix.org/v1.19/server-server-api/#transactions
"""

import asyncio
import gc
import random
from collections import deque
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from tests.eventually import eventually
from tests.peer import Asked
from tests.scenarios.hostile.conftest import PEER, V1, A, B
from tests.scenarios.hostile.memory import growth_bytes
from tests.shared_rooms import SharedRoom
from tim_server.federation_api.transactions import TRANSACTION_BYTES_MAX
from tim_server.matrix.events.record import Event

JSON = {"Content-Type": "application/json"}


async def test_transactions_that_come_twice_at_once_and_in_any_order_are_taken_in_once(room: SharedRoom) -> None:
    events = [room.message(f"{number}") for number in range(60)]
    wanted = [event.event_id for event in events]

    async def missing(asked: Asked) -> Any:
        ahead, found = deque(wanted.index(event_id) - 1 for event_id in asked.json["latest_events"]), set[int]()
        while ahead and len(found) < asked.json["limit"]:
            number = ahead.popleft()
            if number >= 0 and number not in found and wanted[number] not in asked.json["earliest_events"]:
                found.add(number)
                ahead.append(number - 1)
        return {"events": [events[number].pdu for number in sorted(found)]}

    room.peer.answers["POST", f"{V1}/get_missing_events/{room.room_id}"] = missing
    transactions = [(f"shuffled{start}", events[start : start + 5]) for start in range(0, 60, 5)] * 2
    random.Random(4).shuffle(transactions)

    async def send(txn_id: str, some: list[Event]) -> None:
        body = {"origin": PEER, "origin_server_ts": 1, "pdus": [event.pdu for event in some], "edus": []}
        ask = partial(room.peer.ask, A, "PUT", f"{V1}/send/{txn_id}", body)
        await eventually(ask, lambda answer: answer[0] != 429)

    await asyncio.gather(*(send(txn_id, some) for txn_id, some in transactions))
    await eventually(room.seen, lambda seen: set(wanted) <= set(seen), patience_s=60)
    assert [event_id for event_id in await room.seen() if event_id in wanted] == wanted


async def test_a_peer_that_does_not_wait_for_answers_is_told_to(room: SharedRoom) -> None:
    """Eighty transactions at once."""
    answers = await asyncio.gather(
        *(
            room.peer.ask(A, "PUT", f"{V1}/send/many{number}", {"pdus": [room.message(f"{number}").pdu], "edus": []})
            for number in range(80)
        )
    )
    assert {status for status, _ in answers} <= {200, 429}
    assert all(answer["errcode"] == "M_LIMIT_EXCEEDED" for status, answer in answers if status == 429)


HUGE: dict[str, bytes] = {
    "empty arrays": b'{"pdus":[' + b"[]," * 500_000 + b"[]]}",
    "tiny objects": b'{"pdus":[' + b'{"a":0},' * 200_000 + b"{}]}",
    "arrays that take half a gigabyte": b'{"pdus":[' + (b"[" * 100 + b"]" * 100 + b",") * 45_000 + b"0]}",
    "keys": b'{"edus":[],"pdus":[{' + b",".join(b'"%d":0' % number for number in range(200_000)) + b"}]}",
    "more than may come at all": b'{"pdus":["' + b"x" * TRANSACTION_BYTES_MAX + b'"]}',
    "no end": b'{"pdus":[' * 5_000,
}


@pytest.mark.parametrize("what", HUGE)
async def test_a_huge_transaction_ends_soon_and_changes_nothing(room: SharedRoom, what: str) -> None:
    async with asyncio.timeout(60):
        status, answer = await room.peer.ask(A, "PUT", f"{V1}/send/huge", HUGE[what], headers=JSON)
    assert status in (400, 401, 413), answer


async def test_what_was_refused_leaves_nothing_behind_that_has_to_be_collected(room: SharedRoom) -> None:
    """Each takes fifty megabytes while it is looked at."""
    gc.collect()
    gc.disable()
    try:
        with growth_bytes() as growth:
            for _ in range(10):
                body = b'{"edus":[],"pdus":[' + b"[]," * 600_000 + b"[]]}"
                assert (await room.peer.ask(A, "PUT", f"{V1}/send/refused", body))[0] == 400
            assert growth() < 200 * 2**20
    finally:
        gc.enable()


async def test_a_hundred_megabytes_are_refused_before_they_are_sent(room: SharedRoom) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'{"pdus":["'
        while sent < 100 * 2**20:
            yield b"x" * 2**16
            sent += 2**16

    uri = f"{V1}/send/endless"
    headers = {"Authorization": room.peer.authorization(A, "PUT", uri), "Host": A}
    url = f"https://127.0.0.1:{room.peer.network.ports[A]}{uri}"
    try:
        async with room.peer.session.put(url, data=endless(), headers=headers, server_hostname=A) as response:
            assert response.status == 413
    except OSError:
        pass  # it was cut off while it went on sending
    assert sent < 2 * TRANSACTION_BYTES_MAX


async def test_a_request_is_refused_where_anything_of_its_signature_is_wrong(room: SharedRoom) -> None:
    event = room.message("forged request")
    body = {"pdus": [event.pdu], "edus": []}
    changes: list[dict[str, Any]] = [
        {"origin": B},
        {"origin": A},
        {"origin": "nobody.example"},
        {"destination": B},
        {"key_id": "ed25519:other"},
        {"headers": {"Authorization": 'X-Matrix origin="' + "x" * 15_000 + '"'}},
        {"headers": {"Authorization": "X-Matrix " + 'a="b",' * 2_000}},
    ]
    before = await room.seen()
    for change in changes:
        status, answer = await room.peer.ask(A, "PUT", f"{V1}/send/forged", body, **change)
        assert status in (401, 403), (change, answer)
    assert await room.seen() == before
