"""Joining rooms of another server, which a test plays itself: what is asked, checked, stored and shown."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import Neighbourhood
from tests.joining import NURSE, PEER, refused, served_room
from tests.peer import Asked, make_author
from tests.peer_room import FEDERATION, MEMBER, PeerRoom
from tests.people import Person
from tim_server.matrix.errors import GuestAccessForbidden
from tim_server.matrix.events.signatures import sign_event
from tim_server.matrix.identifiers import EventId, ServerName, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.rooms.remote.join import RemoteJoin
from tim_server.storage.events import load_nodes_by_id
from tim_server.storage.store import Store

Answer = dict[str, Any]


@pytest.fixture
def store(remote: RemoteJoin) -> Store:
    return remote.known_rooms.store


async def stored_nodes(store: Store, event_ids: Any) -> dict[EventId, Any]:
    async with store.database.connection() as connection:
        return await load_nodes_by_id(connection, list(event_ids))


@pytest.mark.parametrize("version", [str(number) for number in range(1, 13)])
async def test_a_room_of_each_version_is_joined_and_shown(
    neighbourhood: Neighbourhood, alice: Person, version: str
) -> None:
    room = served_room(neighbourhood, version)
    room.say("before anybody came")
    since = (await alice.get("sync", timeout=0))["next_batch"]
    await alice.join(room.room_id, PEER)
    (event,) = room.joins
    assert (event.sender, event.content) == (alice.user_id, {"membership": "join", "displayname": "Alice"})
    told = (await alice.get("sync", since=since))["rooms"]["join"][room.room_id]
    assert [each["event_id"] for each in told["timeline"]["events"]] == [event.event_id]
    assert told["timeline"]["limited"]
    keys = {(each["type"], each["state_key"]) for each in told["state"]["events"]}
    assert keys >= room.state.keys() - {(MEMBER, alice.user_id)}
    members = await alice.get(f"rooms/{room.room_id}/joined_members")
    assert members["joined"].keys() == {room.creator, NURSE, alice.user_id}
    await alice.say(room.room_id, "hello")


async def test_a_reason_and_other_content_are_the_users_own(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = served_room(neighbourhood)
    body = {"reason": "on call", "join_authorised_via_users_server": NURSE}
    await alice.post(f"join/{room.room_id}?via={PEER}", body)
    assert room.joins[0].content == {"membership": "join", "displayname": "Alice", "reason": "on call"}


async def test_a_server_that_knows_only_the_first_version_is_joined_through(
    neighbourhood: Neighbourhood, alice: Person
) -> None:
    room = served_room(neighbourhood)
    del neighbourhood.peer.answers["PUT", f"{FEDERATION}/v2/send_join/{room.room_id}/*"]
    await alice.join(room.room_id, PEER)
    assert len(room.joins) == 1


async def test_a_template_of_something_else_is_never_signed(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = served_room(neighbourhood)
    path = f"{FEDERATION}/v1/make_join/{room.room_id}/*"
    for changes in ({"type": "m.room.message"}, {"content": {"membership": "ban"}}, {"sender": room.creator}):
        template = room.template(alice.user_id)
        neighbourhood.peer.answers["GET", path] = {**template, "event": {**template["event"], **changes}}
        await refused(alice, room)
    assert not neighbourhood.peer.asked(f"{FEDERATION}/v2/send_join/{room.room_id}")


async def test_a_version_that_is_not_known_is_told(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = served_room(neighbourhood)
    template = {**room.template(alice.user_id), "room_version": "org.example.next"}
    neighbourhood.peer.answers["GET", f"{FEDERATION}/v1/make_join/{room.room_id}/*"] = template
    await refused(alice, room, 400, "M_INCOMPATIBLE_ROOM_VERSION")


async def test_what_the_server_refuses_is_told(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = served_room(neighbourhood)
    for path in ("v1/make_join", "v2/send_join"):
        answer = web.json_response({"errcode": "M_FORBIDDEN", "error": "Not today"}, status=403)
        method = "GET" if "make" in path else "PUT"
        neighbourhood.peer.answers[method, f"{FEDERATION}/{path}/{room.room_id}/*"] = answer
        await refused(alice, room, 403, "M_FORBIDDEN")
        room.serve(neighbourhood.peer)


def without(*types: str) -> Callable[[Answer], Answer]:
    """Leaves events of these types out of the answer."""
    return lambda answer: {
        key: [pdu for pdu in value if pdu["type"] not in types] if key in ("state", "auth_chain") else value
        for key, value in answer.items()
    }


def changed(type: str, change: Callable[[Answer], Answer]) -> Callable[[Answer], Answer]:
    """Changes events of a type wherever they are in the answer."""
    return lambda answer: {
        key: [change(pdu) if pdu["type"] == type else pdu for pdu in value] if isinstance(value, list) else value
        for key, value in answer.items()
    }


def unsigned(pdu: Answer) -> Answer:
    return {**pdu, "signatures": {}}


@pytest.mark.parametrize("version", ["2", "11", "12"])
@pytest.mark.parametrize(
    "alter",
    [
        without("m.room.create"),
        without("m.room.join_rules"),
        changed("m.room.create", unsigned),
        changed("m.room.create", lambda pdu: {**pdu, "depth": -5}),
        changed("m.room.power_levels", unsigned),
        lambda answer: {**answer, "state": []},
        lambda answer: {**answer, "auth_chain": [], "state": answer["state"][1:]},
        lambda answer: {**answer, "state": 5},
        lambda answer: {"event": answer["event"]},
        lambda _: [200],
        lambda _: web.Response(body=b'{"state":[{"type"'),
        lambda _: web.Response(body=b"\xff\xfe"),
        lambda _: web.Response(status=500),
    ],
)
async def test_an_answer_that_is_no_such_room_is_refused(
    neighbourhood: Neighbourhood, alice: Person, version: str, alter: Callable[[Answer], Any]
) -> None:
    room = served_room(neighbourhood, version)
    room.alter = alter
    await refused(alice, room)
    room.alter = lambda answer: answer
    await alice.join(room.room_id, PEER)  # nothing that was stored stands in the way


async def test_a_state_with_two_events_of_the_same_key_is_refused(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = served_room(neighbourhood)
    other = room.make("m.room.join_rules", {"join_rule": "invite"}, state_key="")
    room.alter = lambda answer: {**answer, "state": [*answer["state"], other.pdu]}
    await refused(alice, room)


async def test_a_state_that_does_not_allow_the_join_is_refused(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = served_room(neighbourhood, join_rule="invite")
    await refused(alice, room)
    room.member(alice.user_id, "ban")
    await refused(alice, room)


async def test_the_state_of_another_room_is_refused(neighbourhood: Neighbourhood, alice: Person) -> None:
    room, other = served_room(neighbourhood), served_room(neighbourhood)
    foreign = [event.pdu for event in other.state.values()]
    room.alter = lambda answer: {**answer, "state": foreign, "auth_chain": foreign}
    await refused(alice, room)


async def test_a_room_of_another_version_than_was_said_is_refused(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = served_room(neighbourhood, "10")
    template = {**room.template(alice.user_id), "room_version": "9"}
    neighbourhood.peer.answers["GET", f"{FEDERATION}/v1/make_join/{room.room_id}/*"] = template
    await refused(alice, room)
    room.serve(neighbourhood.peer)
    await alice.join(room.room_id, PEER)


@pytest.mark.parametrize("change", [unsigned, lambda pdu: {**pdu, "room_id": "!other:peer.example"}, lambda _: {}])
async def test_an_event_that_does_not_pass_keeps_nobody_out(
    neighbourhood: Neighbourhood, alice: Person, change: Callable[[Answer], Answer]
) -> None:
    room = served_room(neighbourhood)
    room.add("m.room.topic", {"topic": "rounds"}, state_key="")
    room.alter = changed("m.room.topic", change)
    await alice.join(room.room_id, PEER)
    types = {event["type"] for event in await alice.get(f"rooms/{room.room_id}/state")}
    assert "m.room.topic" not in types and "m.room.join_rules" in types


async def test_an_event_with_another_content_than_was_hashed_counts_as_redacted(
    neighbourhood: Neighbourhood, alice: Person
) -> None:
    room = served_room(neighbourhood)
    room.add("m.room.topic", {"topic": "rounds"}, state_key="")
    room.alter = changed("m.room.topic", lambda pdu: {**pdu, "content": {"topic": "forged"}})
    await alice.join(room.room_id, PEER)
    assert await alice.state(room.room_id, "m.room.topic") == {}


async def test_an_event_that_its_own_auth_events_forbid_is_not_state(
    neighbourhood: Neighbourhood, alice: Person
) -> None:
    room = served_room(neighbourhood)
    room.add("m.room.topic", {"topic": "mine"}, state_key="", sender=NURSE)
    await alice.join(room.room_id, PEER)
    assert (await alice.request("GET", f"rooms/{room.room_id}/state/m.room.topic"))[0] == 404


async def test_events_of_servers_that_are_gone_are_left_out(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = served_room(neighbourhood)
    room.join("@ghost:gone.example", author=make_author("gone.example", seed=3))
    await alice.join(room.room_id, PEER)
    members = await alice.get(f"rooms/{room.room_id}/joined_members")
    assert members["joined"].keys() == {room.creator, NURSE, alice.user_id}


async def test_a_restricted_join_must_come_back_signed(neighbourhood: Neighbourhood, alice: Person) -> None:
    allow = [{"type": "m.room_membership", "room_id": "!staff:peer.example"}]
    room = served_room(neighbourhood, "10", join_rule={"join_rule": "restricted", "allow": allow})
    template = room.template(alice.user_id, join_authorised_via_users_server=room.creator)
    neighbourhood.peer.answers["GET", f"{FEDERATION}/v1/make_join/{room.room_id}/*"] = template
    key = room.author.key

    def signed(answer: Answer) -> Answer:
        return {**answer, "event": sign_event(answer["event"], room.version, PEER, key)}

    def forged(answer: Answer) -> Answer:
        return {**answer, "event": sign_event(answer["event"], room.version, PEER, make_author(PEER, seed=99).key)}

    for alter in (lambda answer: answer, lambda answer: {**answer, "event": None}, forged):
        room.alter = alter
        room.prev, room.state = template_point(room, template)
        await refused(alice, room)
    room.alter = signed
    await alice.join(room.room_id, PEER)
    assert (await alice.state(room.room_id, MEMBER, alice.user_id))["join_authorised_via_users_server"] == room.creator


def template_point(room: PeerRoom, template: Answer) -> tuple[Any, Any]:
    """Where the room was when the template was made, as if the refused joins had never come."""
    state = {key: event for key, event in room.state.items() if event not in room.joins}
    return tuple(template["event"]["prev_events"]), state


async def test_nothing_but_signatures_is_taken_of_the_event_that_comes_back(
    neighbourhood: Neighbourhood, alice: Person
) -> None:
    room = served_room(neighbourhood)
    room.alter = lambda answer: {**answer, "event": {**answer["event"], "content": {"membership": "ban"}}}
    await alice.join(room.room_id, PEER)
    member = await alice.state(room.room_id, MEMBER, alice.user_id)
    assert member == {"membership": "join", "displayname": "Alice"}


async def test_what_a_join_stored_before_it_failed_is_used_by_the_next(
    neighbourhood: Neighbourhood, alice: Person, store: Store
) -> None:
    room = served_room(neighbourhood)
    for number in range(20):
        room.join(f"@nurse{number}:peer.example")
    rules = room.state["m.room.join_rules", ""].pdu
    room.alter = lambda answer: {**answer, "state": [pdu for pdu in answer["state"] if pdu != rules]}
    await refused(alice, room)
    before = await stored_nodes(store, room.events)
    assert len(before) > 20 and all(node.outlier for node in before.values())
    room.alter = lambda answer: answer
    await alice.join(room.room_id, PEER)
    after = await stored_nodes(store, room.events)
    assert {event_id: after[event_id].nid for event_id in before} == {e: node.nid for e, node in before.items()}


async def test_a_join_that_another_server_tells_of_first_is_given_its_place(
    neighbourhood: Neighbourhood, alice: Person, store: Store, remote: RemoteJoin
) -> None:
    """As when two processes of this server join the same room, and one hears of the other's join as state."""
    room = served_room(neighbourhood)

    def store_first(answer: Answer) -> Answer:
        return {**answer, "auth_chain": [*answer["auth_chain"], answer["event"]]}

    room.alter = store_first
    since = (await alice.get("sync"))["next_batch"]
    await alice.join(room.room_id, PEER)
    told = (await alice.get("sync", since=since))["rooms"]["join"][room.room_id]
    assert [event["event_id"] for event in told["timeline"]["events"]] == [room.joins[0].event_id]
    (node,) = (await stored_nodes(store, [room.joins[0].event_id])).values()
    assert not node.outlier


async def test_a_user_who_does_not_wait_is_joined_all_the_same(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = served_room(neighbourhood)
    go_on = asyncio.Event()

    async def slow(asked: Asked) -> Any:
        await go_on.wait()
        return room.let_in(room.read(asked.json))

    neighbourhood.peer.answers["PUT", f"{FEDERATION}/v2/send_join/{room.room_id}/*"] = slow
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await alice.join(room.room_id, PEER)
    go_on.set()
    await alice.join(room.room_id, PEER)
    assert len(room.joins) == 1
    await alice.say(room.room_id, "hello")


async def test_guests_join_no_rooms_of_others(neighbourhood: Neighbourhood) -> None:
    room = served_room(neighbourhood)
    homeserver = neighbourhood.a.process.homeservers[0].homeserver
    guest = Requester(user_id=UserId("@guest:a.example"), device_id="GUEST", token_id=1, is_guest=True)
    with pytest.raises(GuestAccessForbidden):
        await homeserver.room_join.join(guest, room.room_id, {}, [ServerName(PEER)])
    assert not neighbourhood.peer.asked(f"{FEDERATION}/v1/make_join/{room.room_id}")
