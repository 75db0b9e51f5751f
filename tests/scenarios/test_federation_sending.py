"""Sending to other servers: order, batches, outages, hostile answers, over real HTTPS to a server made by hand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from aiohttp import web
from prometheus_client.registry import CollectorRegistry

from tests.conftest import Neighbourhood
from tests.destinations import Inbox, Received, first, inbox_of, status
from tests.eventually import eventually
from tests.hospitals import Network, run_networked
from tests.peer import make_author, run_peer
from tests.people import Person
from tests.shared_rooms import SharedRoom, push, share_room
from tim_server.app.metrics import register_sending
from tim_server.federation import transactions
from tim_server.federation.client import RequestBounds
from tim_server.matrix.identifiers import UserId
from tim_server.services.rooms.receive import Incoming
from tim_server.services.transactions import keep_sending, send
from tim_server.services.transactions.keep_sending import FederationSending
from tim_server.storage.outbox import count_owed
from tim_server.storage.store import Store


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Servers that fail are tried again soon, and the first failure counts as long ago."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tim_server.services.transactions.backoff.FIRST_DELAY_S", 0.05)
        patch.setattr(send, "HEARD_PAUSE_S", 0.0)
        yield


@pytest.fixture
async def room(neighbourhood: Neighbourhood) -> SharedRoom:
    return await share_room(neighbourhood.a, neighbourhood.peer)


@pytest.fixture
async def inbox(neighbourhood: Neighbourhood) -> AsyncIterator[Inbox]:
    async with inbox_of(neighbourhood.peer) as inbox:
        yield inbox


@pytest.fixture
def store(neighbourhood: Neighbourhood) -> Store:
    return neighbourhood.a.process.homeservers[0].store


@pytest.fixture
def sending(neighbourhood: Neighbourhood) -> FederationSending:
    return neighbourhood.a.process.homeservers[0].sending


async def until_nothing_waits(store: Store) -> None:
    """Wait until what was acknowledged is out of the outbox."""
    async with asyncio.timeout(10), store.database.connection() as connection:
        while await count_owed(connection):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.05)


async def say_all(alice: Person, room_id: str, count: int) -> list[str]:
    """Messages, one after another; their ids."""
    return [await alice.say(room_id, f"message {number}") for number in range(count)]


async def test_a_message_arrives_as_it_was_signed(room: SharedRoom, inbox: Inbox, store: Store) -> None:
    event_id = await room.alice.say(room.room_id, "hello")
    pdu = await inbox.until(event_id)
    assert pdu["content"]["body"] == "hello" and pdu["room_id"] == room.room_id
    assert pdu["signatures"].keys() == {"a.example"} and "unsigned" not in pdu
    (transaction,) = [t for t in inbox.transactions if event_id in t.pdus]
    assert transaction.body["origin"] == "a.example"
    await until_nothing_waits(store)


async def test_events_come_in_order_and_each_once(room: SharedRoom, inbox: Inbox) -> None:
    sent = await say_all(room.alice, room.room_id, 120)
    await inbox.until(*sent)
    assert [event_id for event_id in inbox.events() if event_id in sent] == sent


async def test_of_rooms_with_different_servers_whose_events_are_committed_together_none_is_lost(
    neighbourhood: Neighbourhood, inbox: Inbox
) -> None:
    rooms = [await share_room(neighbourhood.a, neighbourhood.peer) for _ in range(6)]
    bob = await neighbourhood.b.person()
    for shared in rooms[1::2]:
        await bob.join(shared.room_id, "a.example")
    sent = [
        event_id
        for number in range(5)
        for event_id in await asyncio.gather(*(each.alice.say(each.room_id, f"round {number}") for each in rooms))
    ]
    await inbox.until(*sent)


async def test_what_piles_up_while_one_transaction_is_under_way_comes_fifty_at_a_time(
    room: SharedRoom, inbox: Inbox
) -> None:
    goes_on = asyncio.Event()

    async def wait(received: Received) -> Any:
        await goes_on.wait()
        return {"pdus": {}}

    inbox.answer = wait
    sent = await say_all(room.alice, room.room_id, 111)
    assert len(inbox.transactions) == 1  # one at a time
    goes_on.set()
    await inbox.until(*sent)
    sizes = [len(t.pdus) for t in inbox.taken]
    assert max(sizes) == 50 and len(sizes) == 4
    assert [e for e in inbox.events() if e in sent] == sent


async def test_a_redaction_follows_the_event_that_it_redacts(room: SharedRoom, inbox: Inbox) -> None:
    inbox.answer = first([status(503)])
    event_id = await room.alice.say(room.room_id, "a mistake")
    redaction = (await room.alice.put(f"rooms/{room.room_id}/redact/{event_id}/1", {}))["event_id"]
    await inbox.until(event_id, redaction)
    assert inbox.events()[-2:] == [event_id, redaction]
    (original,) = [t.pdus[event_id] for t in inbox.taken if event_id in t.pdus]
    assert original["content"]["body"] == "a mistake"


async def test_a_transaction_that_may_have_arrived_comes_again_as_it_was(room: SharedRoom, inbox: Inbox) -> None:
    inbox.answer = first([status(500), status(502), status(429, Retry_After="0")])
    event_id = await room.alice.say(room.room_id, "hello")
    await inbox.until_count(1)
    later = await room.alice.say(room.room_id, "later")
    await inbox.until(event_id, later)
    same = [t for t in inbox.transactions if event_id in t.pdus]
    assert len(same) == 4
    assert len({t.txn_id for t in same}) == 1 and all(t.body == same[0].body for t in same)
    (after,) = [t for t in inbox.transactions if later in t.pdus]
    assert after.txn_id != same[0].txn_id


async def test_a_server_is_left_alone_as_long_as_it_asks_for(room: SharedRoom, inbox: Inbox) -> None:
    inbox.answer = first([status(429, Retry_After="1"), status(503, {"retry_after_ms": 700})])
    await inbox.until(await room.alice.say(room.room_id, "hello"))
    began, again, then = [t.at for t in inbox.transactions][-3:]
    assert again - began >= 1.0 and then - again >= 0.7


async def test_pdus_that_are_not_taken_are_final(room: SharedRoom, inbox: Inbox, store: Store) -> None:
    async def refuse(received: Received) -> Any:
        return {"pdus": {event_id: {"error": "no"} for event_id in received.pdus} | {"junk\n": {"error": 7}}}

    inbox.answer = refuse
    event_id = await room.alice.say(room.room_id, "hello")
    await inbox.until(event_id)
    await until_nothing_waits(store)
    assert inbox.events().count(event_id) == 1


async def slow(received: Received) -> Any:
    await asyncio.sleep(5)


async def endless(received: Received) -> Any:
    return web.Response(body=b'{"pdus":{"' + b"x" * 2**20 + b'":{}}}', content_type="application/json")


async def no_json(received: Received) -> Any:
    return web.Response(body=b"<html>Everything is fine</html>", content_type="text/html")


async def no_object(received: Received) -> Any:
    return web.json_response([200, {}])


async def elsewhere(received: Received) -> Any:
    return web.Response(status=307, headers={"Location": "https://b.example/_matrix/federation/v1/send/1"})


async def hangs_up(received: Received) -> Any:
    raise ConnectionResetError


HOSTILE: dict[str, Callable[[Received], Any]] = {
    "slow": slow,
    "endless": endless,
    "no JSON": no_json,
    "no object": no_object,
    "elsewhere": elsewhere,
    "hangs up": hangs_up,
    "not found": status(404),
    "unauthorized": status(401),
}


@pytest.mark.parametrize("how", HOSTILE)
async def test_a_hostile_answer_delays_only_that_server(
    room: SharedRoom, inbox: Inbox, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(transactions, "TRANSACTION_BOUNDS", RequestBounds(timeout_s=0.3, size_bytes_max=2**18))
    inbox.answer = first([HOSTILE[how], HOSTILE[how]])
    event_id = await room.alice.say(room.room_id, "hello")
    await inbox.until(event_id)
    assert len([t for t in inbox.transactions if event_id in t.pdus]) == 3


async def test_a_transaction_that_is_too_large_comes_in_parts(room: SharedRoom, inbox: Inbox) -> None:
    async def at_most_ten(received: Received) -> Any:
        return web.json_response({}, status=413) if len(received.pdus) > 10 else {"pdus": {}}

    inbox.answer = first([status(503)])
    sent = await say_all(room.alice, room.room_id, 1)
    await inbox.until_count(1)
    inbox.answer = at_most_ten
    sent += await say_all(room.alice, room.room_id, 60)
    await inbox.until(*sent)
    assert [e for e in inbox.events() if e in sent] == sent


async def test_a_server_that_was_away_for_a_thousand_events_gets_all_of_them_when_it_is_heard(
    room: SharedRoom, inbox: Inbox, neighbourhood: Neighbourhood, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tim_server.services.transactions.backoff.FIRST_DELAY_S", 3_600.0)
    inbox.answer = status(502)
    second = await share_room(neighbourhood.a, neighbourhood.peer)
    texts = (f"message {number}" for number in range(500))
    sent = [await each.alice.say(each.room_id, text) for text in texts for each in (room, second)]
    failing = (await failing_since(store))["peer.example"]
    assert failing is not None
    tried = len(inbox.transactions)
    inbox.answer = None
    await asyncio.sleep(0.2)
    assert len(inbox.transactions) == tried  # not before it is due
    await push(neighbourhood.peer, "a.example")
    await inbox.until(*sent)
    assert [e for e in inbox.events() if e in sent] == sent
    assert max(len(t.pdus) for t in inbox.taken) == 50
    await until_nothing_waits(store)
    assert (await failing_since(store))["peer.example"] is None


async def failing_since(store: Store) -> dict[str, int | None]:
    """Since when sending to each server fails."""
    async with store.database.connection() as connection:
        rows = await connection.fetch("SELECT destination, failing_since_ts FROM federation_destinations")
    return {row["destination"]: row["failing_since_ts"] for row in rows}


async def test_beyond_its_bound_the_outbox_keeps_the_newest_event_of_each_room(
    room: SharedRoom,
    inbox: Inbox,
    neighbourhood: Neighbourhood,
    sending: FederationSending,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tim_server.services.transactions.backoff.FIRST_DELAY_S", 3_600.0)
    monkeypatch.setattr(sending, "outbox_events_max", 30)
    inbox.answer = status(502)
    second = await share_room(neighbourhood.a, neighbourhood.peer)
    await say_all(room.alice, room.room_id, 20)
    await sending.shorten()
    async with store.database.connection() as connection:
        assert await count_owed(connection) >= 20
    (last,) = await say_all(second.alice, second.room_id, 1)
    newest = await say_all(room.alice, room.room_id, 20)
    await sending.shorten()
    inbox.answer = None
    await push(neighbourhood.peer, "a.example")
    await inbox.until(newest[-1], last)
    assert set(inbox.events()) == {newest[-1], last}


async def test_figures_tell_what_waits_and_what_became_of_attempts(
    room: SharedRoom, inbox: Inbox, neighbourhood: Neighbourhood, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = CollectorRegistry()
    register_sending(registry, neighbourhood.a.process.homeservers)

    def figure(name: str, **labels: str) -> float:
        return registry.get_sample_value(f"tim_federation_{name}", labels) or 0.0

    before = figure("transactions_total", outcome="delivered"), figure("transactions_total", outcome="status_5xx")
    monkeypatch.setattr("tim_server.services.transactions.backoff.FIRST_DELAY_S", 3_600.0)
    inbox.answer = status(502)
    (sent,) = await say_all(room.alice, room.room_id, 1)
    await inbox.until_count(1)
    await eventually(_value(lambda: figure("servers_failing")), lambda count: count == 1)
    await say_all(room.alice, room.room_id, 3)
    assert figure("outbox_events") == 4 and figure("lag_seconds") == 0
    inbox.answer = None
    await push(neighbourhood.peer, "a.example")
    await inbox.until(sent)
    await until_nothing_waits(store)
    assert figure("servers_failing") == figure("outbox_events") == figure("lag_seconds") == 0
    after = figure("transactions_total", outcome="delivered"), figure("transactions_total", outcome="status_5xx")
    assert after[0] > before[0] and after[1] == before[1] + 1


def _value(read: Callable[[], float]) -> Callable[[], Awaitable[float]]:
    async def look() -> float:
        return read()

    return look


async def test_idle_servers_take_no_task(room: SharedRoom, inbox: Inbox, store: Store) -> None:
    await inbox.until(await room.alice.say(room.room_id, "hello"))
    await until_nothing_waits(store)
    await asyncio.sleep(0.1)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "send"]


async def test_servers_that_never_answer_keep_no_other_waiting(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    folder = tmp_path_factory.mktemp("pits")
    network = Network.of(folder, ["a.example", "peer.example", "pit.example"])
    names = [f"pit{number}.example" for number in range(40)]
    network.ports |= dict.fromkeys(names, network.ports["pit.example"])
    options = {"federation": {"transactions_concurrent_max": 1}}
    async with (
        await asyncio.start_server(say_nothing, "127.0.0.1", network.ports["pit.example"]),
        run_peer(network, "peer.example") as peer,
        inbox_of(peer) as inbox,
        run_networked(network, "a.example", await make_tenant_dsn(), folder, **options) as hospital,
    ):
        room = await share_room(hospital, peer)
        await inbox.until(await room.alice.say(room.room_id, "are you there?"))
        for name in names:
            user_id = UserId(f"@user:{name}")
            join = {"state_key": user_id, "sender": user_id, "author": make_author(name)}
            event = (await room.fork_here()).make("m.room.member", {"membership": "join"}, **join)
            await room.queues.submit(room.room_id, Incoming(events=(event,)))
        async with asyncio.timeout(2):
            await inbox.until(*await say_all(room.alice, room.room_id, 5))
        sending = hospital.process.homeservers[0].sending
        assert {destination.name for destination in sending.sender.busy()} >= {*names}
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < keep_sending.GRACE_S  # it stops without waiting for them
