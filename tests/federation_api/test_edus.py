"""Short-lived data that other servers push: typing, receipts, presence; what they may not say is dropped."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.conftest import Neighbourhood
from tests.hospitals import run_hospitals
from tests.peer import run_peer
from tests.people import Person
from tests.shared_rooms import SharedRoom, share_room

PRESENCE = {"enabled": True, "room_members_max": 5, "status_msg_length_max": 20}


@pytest.fixture(scope="module")
async def neighbourhood(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Neighbourhood]:
    """As elsewhere, with presence at both hospitals."""
    dsns = [await make_tenant_dsn(), await make_tenant_dsn()]
    names, folder = ["a.example", "b.example"], tmp_path_factory.mktemp("neighbourhood")
    options = {name: {"presence": PRESENCE} for name in names}
    async with (
        run_hospitals(names, dsns, folder, others=["peer.example"], options=options) as (network, (a, b)),
        run_peer(network, "peer.example") as peer,
    ):
        yield Neighbourhood(network, a, b, peer)


@pytest.fixture
async def room(neighbourhood: Neighbourhood) -> SharedRoom:
    return await share_room(neighbourhood.a, neighbourhood.peer)


def typing(room_id: str, user_id: str, types: Any = True) -> dict[str, Any]:
    return {"edu_type": "m.typing", "content": {"room_id": room_id, "user_id": user_id, "typing": types}}


def receipt(room_id: str, user_id: str, event_id: str, **data: Any) -> dict[str, Any]:
    mark = {"event_ids": [event_id], "data": {"ts": 1_234, **data}}
    return {"edu_type": "m.receipt", "content": {room_id: {"m.read": {user_id: mark}}}}


def presence(user_id: str, state: str = "online", **more: Any) -> dict[str, Any]:
    push = [{"user_id": user_id, "presence": state, "last_active_ago": 5_000, **more}]
    return {"edu_type": "m.presence", "content": {"push": push}}


async def ephemeral(person: Person, room_id: str, since: str | None = None) -> tuple[dict[str, Any], str]:
    """What a sync tells of typing and receipts in a room, by type, and the token after it."""
    answer = await person.get("sync", since=since, timeout=0, set_presence="offline")
    events = answer.get("rooms", {}).get("join", {}).get(room_id, {}).get("ephemeral", {}).get("events", [])
    return {event["type"]: event["content"] for event in events}, answer["next_batch"]


async def presence_of(person: Person, user_id: str) -> dict[str, Any]:
    content: dict[str, Any] = await person.get(f"presence/{user_id}/status")
    return content


async def test_typing_is_seen_and_ends(room: SharedRoom) -> None:
    await room.push(edus=[typing(room.room_id, room.user_id)])
    told, since = await ephemeral(room.alice, room.room_id)
    assert told["m.typing"] == {"user_ids": [room.user_id]}
    await room.push(edus=[typing(room.room_id, room.user_id)])  # a repeat is no news
    assert (await ephemeral(room.alice, room.room_id, since))[0] == {}
    await room.push(edus=[typing(room.room_id, room.user_id, False)])
    told, since = await ephemeral(room.alice, room.room_id, since)
    assert told["m.typing"] == {"user_ids": []}
    await room.push(edus=[typing(room.room_id, room.user_id, False)])
    assert (await ephemeral(room.alice, room.room_id, since))[0] == {}


async def test_of_several_edus_about_a_user_the_last_one_counts(room: SharedRoom) -> None:
    await room.push(edus=[typing(room.room_id, room.user_id, types) for types in (True, False, True)])
    assert (await ephemeral(room.alice, room.room_id))[0]["m.typing"] == {"user_ids": [room.user_id]}


async def test_receipts_are_seen_also_those_of_threads(room: SharedRoom) -> None:
    root = await room.alice.say(room.room_id, "root")
    await room.push(
        edus=[receipt(room.room_id, room.user_id, root), receipt(room.room_id, room.user_id, root, thread_id="main")]
    )
    answer = await room.alice.get("sync")
    events = answer["rooms"]["join"][room.room_id]["ephemeral"]["events"]
    marks = [event["content"][root]["m.read"][room.user_id] for event in events if event["type"] == "m.receipt"]
    assert sorted(marks, key=len) == [{"ts": 1_234}, {"ts": 1_234, "thread_id": "main"}]


async def test_a_receipt_never_moves_backwards(room: SharedRoom) -> None:
    first, second = await room.alice.say(room.room_id, "first"), await room.alice.say(room.room_id, "second")
    await room.push(edus=[receipt(room.room_id, room.user_id, second)])
    await room.push(edus=[receipt(room.room_id, room.user_id, first)])
    assert (await ephemeral(room.alice, room.room_id))[0]["m.receipt"].keys() == {second}


async def test_a_receipt_that_comes_before_its_event_waits_for_it(room: SharedRoom) -> None:
    message = room.message()
    await room.push(edus=[receipt(room.room_id, room.user_id, message.event_id)])
    assert "m.receipt" not in (await ephemeral(room.alice, room.room_id))[0]
    await room.push(message)
    for _ in range(100):
        told, _ = await ephemeral(room.alice, room.room_id)
        if "m.receipt" in told:
            break
    assert told["m.receipt"].keys() == {message.event_id}


async def test_private_receipts_of_others_are_not_taken_in(room: SharedRoom) -> None:
    event_id = await room.alice.say(room.room_id, "hello")
    edu = receipt(room.room_id, room.user_id, event_id)
    edu["content"][room.room_id] = {"m.read.private": edu["content"][room.room_id]["m.read"]}
    await room.push(edus=[edu])
    assert "m.receipt" not in (await ephemeral(room.alice, room.room_id))[0]


async def test_presence_is_seen(room: SharedRoom) -> None:
    since = (await room.alice.get("sync", set_presence="offline"))["next_batch"]
    await room.push(edus=[presence(room.user_id, status_msg="on the ward")])
    (event,) = (await room.alice.get("sync", since=since, set_presence="offline"))["presence"]["events"]
    assert event["sender"] == room.user_id
    assert event["content"]["presence"] == "online" and event["content"]["status_msg"] == "on the ward"
    assert 5_000 <= event["content"]["last_active_ago"] < 15_000
    await room.push(edus=[presence(room.user_id, "unavailable")])
    assert (await presence_of(room.alice, room.user_id))["presence"] == "unavailable"


async def test_users_of_other_servers_are_not_found_idle_here(room: SharedRoom) -> None:
    tracking = room.hospital.process.homeservers[0].homeserver.presence.tracking
    await room.push(edus=[presence(room.user_id, last_active_ago=10 * 60_000)])
    await tracking.look_after()
    while tracking._settling is not None:
        await asyncio.shield(tracking._settling)
    assert (await presence_of(room.alice, room.user_id))["presence"] == "online"


FORGED: dict[str, Callable[[SharedRoom, str], dict[str, Any]]] = {
    "typing of the server's own user": lambda room, event_id: typing(room.room_id, room.alice.user_id),
    "typing of a user of a third server": lambda room, event_id: typing(room.room_id, "@dan:b.example"),
    "typing of a user who is not in the room": lambda room, event_id: typing(room.room_id, "@eve:peer.example"),
    "receipt of the server's own user": lambda room, event_id: receipt(room.room_id, room.alice.user_id, event_id),
    "receipt of a user who is not in the room": lambda room, event_id: receipt(
        room.room_id, "@eve:peer.example", event_id
    ),
    "receipt for a thread that the event is not in": lambda room, event_id: receipt(
        room.room_id, room.user_id, event_id, thread_id="$other"
    ),
    "typing in an unknown room": lambda room, event_id: typing("!none:a.example", room.user_id),
    "typing that is neither": lambda room, event_id: typing(room.room_id, room.user_id, "yes"),
    "no content": lambda room, event_id: {"edu_type": "m.typing", "content": []},
    "no type": lambda room, event_id: {"content": {"room_id": room.room_id}},
    "no receipts": lambda room, event_id: {"edu_type": "m.receipt", "content": {room.room_id: {"m.read": []}}},
    "a receipt without an event": lambda room, event_id: {
        "edu_type": "m.receipt",
        "content": {room.room_id: {"m.read": {room.user_id: {"event_ids": [], "data": {"ts": 1}}}}},
    },
    "a receipt of no time": lambda room, event_id: receipt(room.room_id, room.user_id, event_id, ts="now"),
    "unknown": lambda room, event_id: {"edu_type": "org.example.unknown", "content": {"room_id": room.room_id}},
}


@pytest.mark.parametrize("what", FORGED)
async def test_forged_or_malformed_edus_are_dropped_and_others_are_taken_in(room: SharedRoom, what: str) -> None:
    event_id = await room.alice.say(room.room_id, "hello")
    since = (await ephemeral(room.alice, room.room_id))[1]
    await room.push(edus=[FORGED[what](room, event_id)])
    assert (await ephemeral(room.alice, room.room_id, since))[0] == {}
    await room.push(edus=[FORGED[what](room, event_id), typing(room.room_id, room.user_id)])
    assert (await ephemeral(room.alice, room.room_id, since))[0] == {"m.typing": {"user_ids": [room.user_id]}}


async def test_presence_of_users_of_others_is_dropped(neighbourhood: Neighbourhood) -> None:
    room = await share_room(neighbourhood.a, neighbourhood.peer, user="dan")
    for forged in (presence(room.alice.user_id, "unavailable"), presence("@dan:b.example"), presence("nobody")):
        await room.push(edus=[forged])
    await room.push(edus=[{"edu_type": "m.presence", "content": {"push": [7, {"user_id": room.user_id}]}}])
    assert (await presence_of(room.alice, room.alice.user_id))["presence"] == "offline"
    assert (await presence_of(room.alice, room.user_id))["presence"] == "offline"


async def test_presence_of_who_shares_no_room_is_not_kept(neighbourhood: Neighbourhood, room: SharedRoom) -> None:
    await room.push(edus=[presence("@stranger:peer.example")])
    store = neighbourhood.a.process.homeservers[0].store
    async with store.database.connection() as connection:
        assert not await connection.fetchval("SELECT count(*) FROM presence WHERE user_id = '@stranger:peer.example'")


async def test_the_access_control_list_of_a_room_holds_for_typing_and_receipts(room: SharedRoom) -> None:
    event_id = await room.alice.say(room.room_id, "hello")
    await room.alice.set_state(room.room_id, "m.room.server_acl", {"allow": ["*"], "deny": ["peer.example"]})
    since = (await ephemeral(room.alice, room.room_id))[1]
    await room.push(edus=[typing(room.room_id, room.user_id), receipt(room.room_id, room.user_id, event_id)])
    assert (await ephemeral(room.alice, room.room_id, since))[0] == {}


async def test_who_has_left_says_nothing_of_the_room_any_more(room: SharedRoom) -> None:
    await room.push(edus=[typing(room.room_id, room.user_id)])
    await room.alice.post(f"rooms/{room.room_id}/kick", {"user_id": room.user_id})
    since = (await ephemeral(room.alice, room.room_id))[1]
    await room.push(edus=[typing(room.room_id, room.user_id)])
    assert (await ephemeral(room.alice, room.room_id, since))[0].get("m.typing", {"user_ids": []}) == {"user_ids": []}
