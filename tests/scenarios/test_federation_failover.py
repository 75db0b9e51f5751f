"""Two processes of one homeserver: either may take in what is sent, one sends it on, and the other takes over."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.destinations import Inbox, inbox_of, status
from tests.eventually import eventually
from tests.hospitals import Network, NetworkedHospital, run_networked
from tests.peer import run_peer
from tests.people import Person
from tests.ports import free_ports
from tests.shared_rooms import SharedRoom, push, share_room
from tim_server.storage.database import Connection
from tim_server.storage.outbox import count_owed

END_ELECTIONS = """
SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND database = (
    SELECT oid FROM pg_database WHERE datname = current_database()
)
"""


@dataclass
class Pair:
    """Two processes of `a.example`, the first of which sends; `leave` stops one as an operator does."""

    beside: Network
    first: NetworkedHospital
    second: NetworkedHospital
    room: SharedRoom
    inbox: Inbox
    leave: Callable[[], Coroutine[Any, Any, None]]
    alice_elsewhere: Person = field(init=False)

    def __post_init__(self) -> None:
        """Alice asks the second process too."""
        alice = self.room.alice
        self.alice_elsewhere = Person(self.second.session, alice.user_id, alice.token, "ELSEWHERE")

    def is_sending(self, hospital: NetworkedHospital) -> bool:
        return hospital.process.homeservers[0].sending._is_elected

    async def execute(self, act: Callable[[Connection], Awaitable[Any]]) -> Any:
        async with self.second.process.homeservers[0].store.database.connection() as connection:
            return await act(connection)


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    """Processes stand again soon, and servers that fail are tried soon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tim_server.background.elect.STAND_INTERVAL_S", 0.1)
        patch.setattr("tim_server.services.transactions.backoff.FIRST_DELAY_S", 0.05)
        patch.setattr("tim_server.services.transactions.send.HEARD_PAUSE_S", 0.0)
        yield


@pytest.fixture
async def pair(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Pair]:
    dsn, folder = await make_tenant_dsn(), tmp_path_factory.mktemp("pair")
    network = Network.of(folder, ["a.example", "peer.example"])
    beside = Network(network.circle, {**network.ports, "a.example": free_ports(1)[0]})
    async with AsyncExitStack() as stack, run_peer(network, "peer.example") as peer, inbox_of(peer) as inbox:
        first_stack = await stack.enter_async_context(AsyncExitStack())
        first = await first_stack.enter_async_context(run_networked(network, "a.example", dsn, folder))
        sending = first.process.homeservers[0].sending
        await eventually(_value(lambda: sending._is_elected))
        second = await stack.enter_async_context(run_networked(beside, "a.example", dsn, folder))
        room = await share_room(first, peer)
        yield Pair(beside, first, second, room, inbox, first_stack.aclose)


def _value(read: Callable[[], Any]) -> Callable[[], Awaitable[Any]]:
    async def look() -> Any:
        return read()

    return look


async def test_what_either_process_takes_in_one_sends(pair: Pair) -> None:
    assert pair.is_sending(pair.first) and not pair.is_sending(pair.second)
    sent = []
    for number in range(20):
        sent.append(await pair.room.alice.say(pair.room.room_id, f"here {number}"))
        sent.append(await pair.alice_elsewhere.say(pair.room.room_id, f"there {number}"))
    await pair.inbox.until(*sent)
    assert [e for e in pair.inbox.events() if e in sent] == sent
    assert not pair.is_sending(pair.second)


async def test_another_process_takes_over_from_one_that_stops(pair: Pair) -> None:
    before = await pair.room.alice.say(pair.room.room_id, "before")
    await pair.inbox.until(before)
    await pair.leave()
    after = await pair.alice_elsewhere.say(pair.room.room_id, "after")
    await pair.inbox.until(after)
    assert pair.inbox.events().count(before) == 1  # what was acknowledged is recorded before the process ends


async def test_another_process_takes_over_from_one_that_lost_its_connection(pair: Pair) -> None:
    sent = [await pair.room.alice.say(pair.room.room_id, "before")]
    for number in range(10):
        await pair.execute(lambda connection: connection.execute(END_ELECTIONS))
        sent.append(await pair.alice_elsewhere.say(pair.room.room_id, f"meanwhile {number}"))
        await pair.inbox.until(*sent)
    in_order = list(dict.fromkeys(e for e in pair.inbox.events() if e in sent))
    assert in_order == sent


async def test_a_process_that_dies_before_it_records_what_was_taken_in_is_followed_by_the_same_transaction(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pair.inbox.until(await pair.room.alice.say(pair.room.room_id, "before"))
    await eventually(lambda: pair.execute(count_owed), lambda count: count == 0)
    acknowledgements = pair.first.process.homeservers[0].sending.sender.acknowledgements

    async def die() -> None:
        acknowledgements._delivered.clear()

    monkeypatch.setattr(type(acknowledgements), "flush", lambda self: die())
    event_id = await pair.room.alice.say(pair.room.room_id, "hello")
    await pair.inbox.until(event_id)
    await pair.leave()
    monkeypatch.undo()
    await eventually(_value(lambda: len([t for t in pair.inbox.taken if event_id in t.pdus])), lambda count: count == 2)
    first, again = [t for t in pair.inbox.taken if event_id in t.pdus]
    assert again.txn_id == first.txn_id and again.body["pdus"] == first.body["pdus"]


async def test_whichever_process_hears_a_server_has_it_tried_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tim_server.services.transactions.backoff.FIRST_DELAY_S", 3_600.0)
    pair.inbox.answer = status(502)
    event_id = await pair.room.alice.say(pair.room.room_id, "hello")
    authenticator = pair.second.process.homeservers[0].homeserver.server_authenticator
    failing = authenticator.heard.__self__  # type: ignore[attr-defined]
    await eventually(_value(lambda: "peer.example" in failing._failing))
    pair.inbox.answer = None
    pair.inbox.peer.network = pair.beside
    await push(pair.inbox.peer, "a.example")
    await pair.inbox.until(event_id)


async def test_a_process_waits_for_its_transactions_when_it_stops(pair: Pair) -> None:
    await pair.inbox.until(await pair.room.alice.say(pair.room.room_id, "before"))
    goes_on = asyncio.Event()

    async def wait(received: Any) -> Any:
        await goes_on.wait()
        return {"pdus": {}}

    pair.inbox.answer = wait
    came = len(pair.inbox.transactions)
    event_id = await pair.room.alice.say(pair.room.room_id, "hello")
    await pair.inbox.until_count(came + 1)
    leaving = asyncio.create_task(pair.leave())
    await asyncio.sleep(0.1)
    goes_on.set()
    await leaving
    await pair.inbox.until(await pair.alice_elsewhere.say(pair.room.room_id, "after"))
    assert pair.inbox.events().count(event_id) == 1
