"""Short-lived data as other servers get it: typing, receipts, presence, changes of devices, messages to devices."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest

from tests.client_api.test_device_management import log_in
from tests.conftest import Neighbourhood
from tests.destinations import Inbox, Received, first, inbox_of, status
from tests.eventually import eventually
from tests.hospitals import run_hospitals
from tests.peer import run_peer
from tests.people import Person
from tests.shared_rooms import SharedRoom, enter_room, share_room
from tests.signed_keys import DeviceIdentity
from tim_server.matrix.identifiers import RoomId
from tim_server.services.typing.edus import TypingEdus

PRESENCE = {"enabled": True, "room_members_max": 5}


@pytest.fixture(scope="module")
async def neighbourhood(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Neighbourhood]:
    """As elsewhere, with presence at the hospital; what fails is tried again soon."""
    dsns = [await make_tenant_dsn(), await make_tenant_dsn()]
    names, folder = ["a.example", "b.example"], tmp_path_factory.mktemp("neighbourhood")
    options = {name: {"presence": PRESENCE} for name in names}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tim_server.services.transactions.backoff.FIRST_DELAY_S", 0.05)
        patch.setattr("tim_server.services.presence.track.SETTLE_INTERVAL_S", 0.02)
        async with (
            run_hospitals(names, dsns, folder, others=["peer.example"], options=options) as (network, (a, b)),
            run_peer(network, "peer.example") as peer,
        ):
            yield Neighbourhood(network, a, b, peer)


@pytest.fixture
async def inbox(neighbourhood: Neighbourhood) -> AsyncIterator[Inbox]:
    async with inbox_of(neighbourhood.peer) as inbox:
        yield inbox


@pytest.fixture
async def room(neighbourhood: Neighbourhood, inbox: Inbox) -> SharedRoom:
    """A room that the peer knows that it is in."""
    room = await share_room(neighbourhood.a, neighbourhood.peer)
    await inbox.until(await room.alice.say(room.room_id, "welcome"))
    return room


async def type_in(room: SharedRoom, types: bool) -> None:
    path = f"rooms/{room.room_id}/typing/{room.alice.user_id}"
    await room.alice.put(path, {"typing": types, "timeout": 30_000} if types else {"typing": types})


def typing_of(room: SharedRoom, types: bool) -> Callable[[Any], bool]:
    wanted = {"room_id": room.room_id, "user_id": room.alice.user_id, "typing": types}
    return lambda content: content == wanted


async def test_who_begins_and_who_ceases_to_type(room: SharedRoom, inbox: Inbox) -> None:
    await type_in(room, True)
    await inbox.until_edu("m.typing", typing_of(room, True))
    await type_in(room, False)
    await inbox.until_edu("m.typing", typing_of(room, False))
    assert all(not t.body["pdus"] for t in inbox.taken if any(e["edu_type"] == "m.typing" for e in t.edus))


async def test_typing_again_is_told_again(room: SharedRoom, inbox: Inbox) -> None:
    for _ in range(3):
        for types in (True, False):
            await type_in(room, types)
            await inbox.until_edu("m.typing", typing_of(room, types))
            inbox.taken.clear()
    assert len({t.txn_id for t in inbox.transactions}) == len(inbox.transactions)


async def test_who_goes_on_typing_is_told_of_from_time_to_time(
    room: SharedRoom, inbox: Inbox, neighbourhood: Neighbourhood
) -> None:
    sending = neighbourhood.a.process.homeservers[0].sending
    await type_in(room, True)
    await inbox.until_edu("m.typing", typing_of(room, True))
    for _ in range(2):
        inbox.taken.clear()
        (repeat,) = [repeat for repeat in sending.repeats if repeat.source == "typing"]
        async with sending.store.database.connection() as connection:
            rooms = await repeat.rooms(connection)
        sending.watch.repeat(repeat.source, rooms, sending.store.commit_log.position)
        await inbox.until_edu("m.typing", typing_of(room, True))
    await type_in(room, False)
    await inbox.until_edu("m.typing", typing_of(room, False))
    (source,) = [source for source in sending.watch.sources if isinstance(source, TypingEdus)]
    async with sending.store.database.connection() as connection:
        assert not await source.rooms_to_repeat(connection)


async def mark(room: SharedRoom, event_id: str, kind: str = "m.read", **body: Any) -> None:
    await room.alice.post(f"rooms/{room.room_id}/receipt/{kind}/{event_id}", body)


def receipts_in(room: SharedRoom, content: Any) -> dict[str, Any]:
    of_room: dict[str, Any] = content.get(room.room_id, {}).get("m.read", {})
    return of_room


async def test_public_receipts_are_told_and_private_ones_are_not(room: SharedRoom, inbox: Inbox) -> None:
    message = room.message()
    await room.push(message)
    await mark(room, message.event_id, "m.read.private")
    await mark(room, message.event_id, thread_id="main")
    content = await inbox.until_edu("m.receipt", lambda content: bool(receipts_in(room, content)))
    receipt = receipts_in(room, content)[room.alice.user_id]
    assert receipt["event_ids"] == [message.event_id] and receipt["data"]["thread_id"] == "main"
    assert receipt["data"].keys() == {"ts", "thread_id"}
    assert all("m.read.private" not in c.get(room.room_id, {}) for c in inbox.edus("m.receipt"))


async def test_receipts_that_a_server_missed_are_told_when_it_is_back(room: SharedRoom, inbox: Inbox) -> None:
    first_event, second_event = room.message(), room.message()
    await room.push(first_event, second_event)
    inbox.answer = first([status(502), status(502), status(502)])
    tried = len(inbox.transactions)
    await mark(room, first_event.event_id)
    await inbox.until_count(tried + 1)
    await mark(room, second_event.event_id)
    await inbox.until_edu(
        "m.receipt",
        lambda content: (
            receipts_in(room, content).get(room.alice.user_id, {}).get("event_ids") == [second_event.event_id]
        ),
    )


async def test_a_receipt_that_comes_just_before_a_transaction_with_others_is_told_after_it(
    neighbourhood: Neighbourhood, room: SharedRoom, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is concerned by a commit is found out a moment after it: other things may leave in between."""
    other = await share_room(neighbourhood.a, neighbourhood.peer)
    here, there = room.message(), other.message()
    await room.push(here, there)
    goes_on = asyncio.Event()

    async def wait(received: Received) -> Any:
        await goes_on.wait()
        return {"pdus": {}}

    inbox.answer = wait
    tried = len(inbox.transactions)
    await other.alice.say(other.room_id, "this takes a while")
    await inbox.until_count(tried + 1)
    await mark(other, there.event_id)
    await asyncio.sleep(0.3)
    monkeypatch.setattr("tim_server.services.transactions.watch_edus.SETTLED_AFTER_S", 0.5)
    await mark(room, here.event_id)
    goes_on.set()
    await inbox.until_edu("m.receipt", lambda content: bool(receipts_in(other, content)))
    await inbox.until_edu("m.receipt", lambda content: bool(receipts_in(room, content)))


async def test_a_server_that_comes_into_a_room_is_told_who_has_read_and_who_is_there(
    neighbourhood: Neighbourhood, inbox: Inbox
) -> None:
    alice = await neighbourhood.a.person()
    room_id = await alice.create_room()
    event_id = await alice.say(room_id, "hello")
    await alice.post(f"rooms/{room_id}/receipt/m.read/{event_id}")
    await alice.put(f"presence/{alice.user_id}/status", {"presence": "online", "status_msg": "on call"})
    await asyncio.sleep(0.1)
    assert not inbox.transactions
    room = await enter_room(neighbourhood.a, neighbourhood.peer, alice, RoomId(room_id), user="newcomer")
    content = await inbox.until_edu("m.receipt", lambda content: bool(receipts_in(room, content)))
    assert receipts_in(room, content)[alice.user_id]["event_ids"] == [event_id]
    content = await inbox.until_edu("m.presence", lambda content: alice.user_id in presence_in(content))
    assert presence_in(content)[alice.user_id]["status_msg"] == "on call"


def presence_in(content: Any) -> dict[str, Any]:
    return {update["user_id"]: update for update in content["push"]}


async def test_presence_goes_to_servers_in_small_rooms_only(neighbourhood: Neighbourhood, room: SharedRoom) -> None:
    async with inbox_of(neighbourhood.peer) as inbox:
        await room.alice.put(f"presence/{room.alice.user_id}/status", {"presence": "unavailable"})
        content = await inbox.until_edu("m.presence", lambda content: room.alice.user_id in presence_in(content))
        told = presence_in(content)[room.alice.user_id]
        assert told["presence"] == "unavailable" and told["last_active_ago"] >= 0
        for _ in range(PRESENCE["room_members_max"]):
            await (await neighbourhood.a.person()).join(room.room_id)
        await inbox.until(await room.alice.say(room.room_id, "we are many"))
        inbox.taken.clear()
        await room.alice.put(f"presence/{room.alice.user_id}/status", {"presence": "online"})
        await inbox.until(await room.alice.say(room.room_id, "who is there?"))
        await asyncio.sleep(0.2)
        assert not [c for c in inbox.edus("m.presence") if room.alice.user_id in presence_in(c)]


async def test_nothing_of_other_servers_users_is_told(room: SharedRoom, inbox: Inbox) -> None:
    event_id = await room.alice.say(room.room_id, "hello")
    edus = [
        {"edu_type": "m.typing", "content": {"room_id": room.room_id, "user_id": room.user_id, "typing": True}},
        {
            "edu_type": "m.receipt",
            "content": {room.room_id: {"m.read": {room.user_id: {"event_ids": [event_id], "data": {"ts": 1}}}}},
        },
    ]
    inbox.taken.clear()
    await room.push(edus=edus)
    await type_in(room, True)
    await inbox.until_edu("m.typing", typing_of(room, True))
    assert {edu["user_id"] for edu in inbox.edus("m.typing")} == {room.alice.user_id}
    assert not inbox.edus("m.receipt")
    await type_in(room, False)


async def test_each_change_of_a_device_refers_to_the_one_before(
    room: SharedRoom, inbox: Inbox, neighbourhood: Neighbourhood
) -> None:
    alice, updates = room.alice, partial(inbox.edus, "m.device_list_update")
    identity = DeviceIdentity(alice)
    await identity.publish()
    first_update = await inbox.until_edu("m.device_list_update", lambda c: "keys" in c)
    assert (first_update["user_id"], first_update["device_id"]) == (alice.user_id, alice.device_id)
    assert first_update["keys"]["keys"] == identity.device_keys["keys"]
    phone = await log_in(alice)
    second = await inbox.until_edu("m.device_list_update", lambda c: c["device_id"] == phone.device_id)
    assert second["prev_id"] == [first_update["stream_id"]]
    assert not {"keys", "deleted"} & second.keys()
    await phone.post("logout")
    third = await inbox.until_edu("m.device_list_update", lambda c: c.get("deleted"))
    assert (third["device_id"], third["prev_id"]) == (phone.device_id, [second["stream_id"]])
    tablet = await log_in(alice)
    await inbox.until_edu("m.device_list_update", lambda c: c["device_id"] == tablet.device_id)
    known = {update["stream_id"] for update in updates()}
    await alice.expect(200, "POST", "logout/all")
    last = await inbox.until_edu("m.device_list_update", lambda c: c["stream_id"] not in known)
    assert last["prev_id"] == []  # several at once: who wants to know asks for all


async def test_messages_to_devices_are_told(room: SharedRoom, inbox: Inbox) -> None:
    await room.alice.put("sendToDevice/m.dummy/1", {"messages": {room.user_id: {"*": {"hello": "there"}}}})
    content = await inbox.until_edu("m.direct_to_device")
    assert content["messages"] == {room.user_id: {"*": {"hello": "there"}}}
    assert content["sender"] == room.alice.user_id


async def test_messages_to_devices_come_once_and_in_order_though_the_server_is_away(
    room: SharedRoom, inbox: Inbox
) -> None:
    inbox.answer = first([status(502)] * 3)
    for number in range(120):
        body = {"messages": {room.user_id: {"*": {"number": number}}}}
        await room.alice.put(f"sendToDevice/m.dummy/away{number}", body)
    await inbox.until_edu("m.direct_to_device", lambda c: c["messages"][room.user_id]["*"].get("number") == 119)
    numbers = [c["messages"][room.user_id]["*"].get("number") for c in inbox.edus("m.direct_to_device")]
    assert [n for n in numbers if n is not None] == list(range(120))
    assert max(len(t.edus) for t in inbox.taken) <= 100


async def test_people_of_two_hospitals_see_each_other_type_and_read_and_be_there(neighbourhood: Neighbourhood) -> None:
    alice, bob = await neighbourhood.a.person(), await neighbourhood.b.person()
    room_id = await alice.create_room()
    await bob.post(f"join/{quote(room_id)}", via="a.example")
    await alice.put(f"presence/{alice.user_id}/status", {"presence": "online", "status_msg": "on call"})
    event_id = await alice.say(room_id, "hello")
    await eventually(partial(shown, bob, room_id), lambda events: event_id in events["timeline"])
    await alice.put(f"rooms/{room_id}/typing/{alice.user_id}", {"typing": True, "timeout": 30_000})
    await bob.post(f"rooms/{room_id}/receipt/m.read/{event_id}")
    await eventually(partial(shown, bob, room_id), lambda events: events["m.typing"] == {"user_ids": [alice.user_id]})
    receipts = await eventually(partial(shown, alice, room_id), lambda e: bob.user_id in str(e.get("m.receipt", {})))
    assert receipts["m.receipt"][event_id]["m.read"].keys() == {bob.user_id}
    seen = await eventually(partial(shown, bob, room_id), lambda events: alice.user_id in events["presence"])
    assert seen["presence"][alice.user_id]["status_msg"] == "on call"


async def shown(person: Person, room_id: str) -> dict[str, Any]:
    """What a first sync tells of a room: ids of events, contents of what passes by type, presence by user."""
    answer = await person.get("sync", set_presence="offline")
    room = answer["rooms"]["join"][room_id]
    told: dict[str, Any] = {event["type"]: event["content"] for event in room.get("ephemeral", {}).get("events", ())}
    told.setdefault("m.typing", None)
    told["timeline"] = [event["event_id"] for event in room["timeline"]["events"]]
    told["presence"] = {e["sender"]: e["content"] for e in answer.get("presence", {}).get("events", ())}
    return told
