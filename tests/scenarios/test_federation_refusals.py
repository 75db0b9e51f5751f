"""Servers that refuse, for ever, something that they are sent, or everything for a time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.conftest import Neighbourhood
from tests.destinations import Inbox, Received, inbox_of, status
from tests.shared_rooms import SharedRoom, share_room
from tim_server.services.transactions.send import TransactionSender


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Servers that fail are tried again soon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tim_server.services.transactions.backoff.FIRST_DELAY_S", 0.05)
        yield


@pytest.fixture
async def room(neighbourhood: Neighbourhood) -> SharedRoom:
    return await share_room(neighbourhood.a, neighbourhood.peer)


@pytest.fixture
async def inbox(neighbourhood: Neighbourhood) -> AsyncIterator[Inbox]:
    async with inbox_of(neighbourhood.peer) as inbox:
        yield inbox


@pytest.fixture
def sender(neighbourhood: Neighbourhood) -> TransactionSender:
    return neighbourhood.a.process.homeservers[0].sending.sender


def refusing(is_bad: Callable[[Received], bool], code: int = 400) -> Callable[[Received], Awaitable[Any]]:
    """An answer that refuses each transaction that holds something."""

    async def answer(received: Received) -> Any:
        return await status(code, {"errcode": "M_BAD_JSON"})(received) if is_bad(received) else {"pdus": {}}

    return answer


def _holds(body: str) -> Callable[[Received], bool]:
    return lambda received: any(pdu["content"].get("body") == body for pdu in received.body["pdus"])


@pytest.mark.parametrize("code", [400, 413])
async def test_an_event_that_is_refused_for_ever_keeps_no_other_waiting(
    room: SharedRoom, inbox: Inbox, sender: TransactionSender, code: int
) -> None:
    goes_on = asyncio.Event()

    async def wait(received: Received) -> Any:
        await goes_on.wait()
        return await refusing(_holds("message 33"), code)(received)

    inbox.answer = wait
    sent = [await room.alice.say(room.room_id, f"message {number}") for number in range(80)]
    given_up = sender.counts["given_up"]
    goes_on.set()
    await inbox.until(*sent[:33], *sent[34:])
    assert [e for e in inbox.events() if e in sent] == sent[:33] + sent[34:]
    await inbox.until(await room.alice.say(room.room_id, "afterwards"))
    assert sender.counts["given_up"] == given_up + 1
    assert len({t.txn_id for t in inbox.transactions}) == len(inbox.transactions) < 30


async def test_an_edu_that_is_refused_for_ever_keeps_no_other_waiting(room: SharedRoom, inbox: Inbox) -> None:
    def is_bad(received: Received) -> bool:
        contents = [edu["content"] for edu in received.edus if edu["edu_type"] == "m.direct_to_device"]
        return any(content["messages"][room.user_id]["*"].get("number") == 5 for content in contents)

    inbox.answer = status(503)
    for number in range(12):
        body = {"messages": {room.user_id: {"*": {"number": number}}}}
        await room.alice.put(f"sendToDevice/m.dummy/refused{number}", body)
    inbox.answer = refusing(is_bad)
    await inbox.until_edu("m.direct_to_device", lambda c: c["messages"][room.user_id]["*"].get("number") == 11)
    numbers = [c["messages"][room.user_id]["*"]["number"] for c in inbox.edus("m.direct_to_device")]
    assert numbers == [number for number in range(12) if number != 5]
    await inbox.until(await room.alice.say(room.room_id, "afterwards"))


async def test_a_server_that_refuses_everything_gets_everything_once_it_does_not(
    room: SharedRoom, inbox: Inbox, sender: TransactionSender
) -> None:
    given_up = sender.counts["given_up"]
    inbox.answer = refusing(lambda received: True)
    sent = [await room.alice.say(room.room_id, f"message {number}") for number in range(5)]
    await inbox.until_count(20)
    assert any(not t.body["pdus"] and not t.body["edus"] for t in inbox.transactions)
    inbox.answer = None
    await inbox.until(*sent)
    assert [e for e in inbox.events() if e in sent] == sent
    assert sender.counts["given_up"] == given_up
