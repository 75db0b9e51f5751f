"""Invites of this server's users by others: what is taken, signed and told, and what is refused.

Spec: https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room
"""

import asyncio
from urllib.parse import quote

import orjson
import pytest

from tests.conftest import Neighbourhood
from tests.inviting import invite_of, invite_state, section, send_invite, told_of
from tests.peer import make_author
from tests.peer_room import FEDERATION, MEMBER, PeerRoom
from tests.people import Person
from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.matrix.events.hashes import event_id_of
from tim_server.matrix.events.signatures import verify_event_signature
from tim_server.storage.outside_memberships import reap
from tim_server.storage.rebuild import rebuild_derived


@pytest.fixture
async def alice(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.a.person()


def named_room(neighbourhood: Neighbourhood, version: str = "11", **options) -> PeerRoom:
    room = PeerRoom.create(neighbourhood.peer.author, version, join_rule="invite", **options)
    room.add("m.room.name", {"name": "Ward 3"}, state_key="")
    return room


async def test_an_invite_is_signed_and_otherwise_left_as_it_is(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = named_room(neighbourhood)
    event = invite_of(room, alice.user_id)
    pdu = orjson.loads(encode_relaxed({**event.pdu, "unsigned": {"note": "kept"}}))
    status, answer = await send_invite(neighbourhood.peer, "a.example", room, event, event=pdu)
    assert status == 200
    author = neighbourhood.a.process.homeservers[0].federation.client.author
    verify_event_signature(answer["event"], room.version, "a.example", author.key.key_id, author.key.verify_key)
    signatures = answer["event"].pop("signatures")
    assert {**answer["event"], "signatures": pdu["signatures"]} == pdu
    assert signatures["peer.example"] == pdu["signatures"]["peer.example"]


@pytest.mark.parametrize("version", ["1", "2", "3", "6", "9", "10", "11", "12"])
async def test_the_invited_user_is_told_what_the_room_is(
    neighbourhood: Neighbourhood, alice: Person, version: str
) -> None:
    room = named_room(neighbourhood, version)
    status, answer = await send_invite(neighbourhood.peer, "a.example", room, invite_of(room, alice.user_id))
    assert status == 200, answer
    state = await invite_state(alice, room.room_id)
    assert state is not None
    assert state["m.room.name"] == {"name": "Ward 3"}
    assert state["m.room.create"]["room_version"] == version
    assert state[f"member {alice.user_id}"]["membership"] == "invite"


async def test_whoever_waits_is_told_at_once_and_once(neighbourhood: Neighbourhood, alice: Person) -> None:
    since = (await alice.get("sync"))["next_batch"]
    room = named_room(neighbourhood)
    await send_invite(neighbourhood.peer, "a.example", room, invite_of(room, alice.user_id))
    answer = await alice.get("sync", since=since, timeout=10_000)
    told = answer["rooms"]["invite"][room.room_id]["invite_state"]["events"]
    assert {event["type"] for event in told} == {"m.room.create", "m.room.join_rules", "m.room.name", MEMBER}
    assert all(event.keys() == {"type", "state_key", "content", "sender"} for event in told)
    later = await alice.get("sync", since=answer["next_batch"], timeout=0)
    assert room.room_id not in later.get("rooms", {}).get("invite", {})


async def test_an_invite_of_the_older_form_is_taken(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = named_room(neighbourhood, "1")
    event = invite_of(room, alice.user_id)
    stripped = [{key: pdu[key] for key in ("type", "state_key", "content", "sender")} for pdu in told_of(room)]
    path = f"{FEDERATION}/v1/invite/{quote(room.room_id, safe='')}/{quote(event.event_id, safe='')}"
    body = {**event.pdu, "unsigned": {"invite_room_state": stripped}}
    status, answer = await neighbourhood.peer.ask("a.example", "PUT", path, body)
    assert (status, answer[0]) == (200, 200)
    assert "a.example" in answer[1]["event"]["signatures"]
    assert (await invite_state(alice, room.room_id) or {})["m.room.name"] == {"name": "Ward 3"}


async def test_an_invite_that_comes_again_changes_nothing(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = named_room(neighbourhood)
    event = invite_of(room, alice.user_id)
    first = await send_invite(neighbourhood.peer, "a.example", room, event)
    before = await alice.get("sync")
    assert await send_invite(neighbourhood.peer, "a.example", room, event) == first
    answer = await alice.get("sync", since=before["next_batch"], timeout=0)
    assert "invite" not in answer.get("rooms", {})


async def test_invites_by_ignored_users_are_not_shown(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = named_room(neighbourhood)
    ignored = {"ignored_users": {str(room.creator): {}}}
    await alice.put(f"user/{alice.user_id}/account_data/m.ignored_user_list", ignored)
    status, _ = await send_invite(neighbourhood.peer, "a.example", room, invite_of(room, alice.user_id))
    assert status == 200
    assert await section(alice, "invite", room.room_id) is None


async def test_who_takes_no_invites_gets_none(neighbourhood: Neighbourhood, alice: Person) -> None:
    blocked = {"default_action": "block"}
    await alice.put(f"user/{alice.user_id}/account_data/m.invite_permission_config", blocked)
    room = named_room(neighbourhood)
    status, answer = await send_invite(neighbourhood.peer, "a.example", room, invite_of(room, alice.user_id))
    assert (status, answer["errcode"]) == (403, "M_INVITE_BLOCKED")


async def test_an_unknown_room_version_is_named(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = named_room(neighbourhood)
    event = invite_of(room, alice.user_id)
    status, answer = await send_invite(neighbourhood.peer, "a.example", room, event, room_version="org.example.next")
    assert (status, answer["errcode"]) == (400, "M_INCOMPATIBLE_ROOM_VERSION")
    assert answer["room_version"] == "org.example.next"


async def refused(neighbourhood: Neighbourhood, room: PeerRoom, event, /, **body) -> str:
    """The error code of an invite that leaves nothing behind."""
    database = neighbourhood.a.process.homeservers[0].store.database
    async with database.connection() as connection:
        before = await connection.fetchval("SELECT count(*) FROM outside_memberships")
    status, answer = await send_invite(neighbourhood.peer, "a.example", room, event, **body)
    assert status in (400, 403), answer
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM outside_memberships") == before
    return str(answer["errcode"])


async def test_what_the_inviting_server_has_not_signed_is_refused(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = named_room(neighbourhood)
    stranger = make_author("peer.example", seed=99)
    forged = room.make(MEMBER, {"membership": "invite"}, state_key=alice.user_id, author=stranger)
    assert await refused(neighbourhood, room, forged) == "M_FORBIDDEN"


async def test_an_invite_by_a_user_of_another_server_is_refused(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = named_room(neighbourhood)
    event = room.make(MEMBER, {"membership": "invite"}, sender="@mallory:elsewhere.example", state_key=alice.user_id)
    assert await refused(neighbourhood, room, event) == "M_FORBIDDEN"


async def test_an_invite_by_a_third_party_must_be_signed_by_who_sends_it(
    neighbourhood: Neighbourhood, alice: Person
) -> None:
    room = named_room(neighbourhood)
    content = {"membership": "invite", "third_party_invite": {"display_name": "a", "signed": {}}}
    stranger = make_author("peer.example", seed=99)
    forged = room.make(MEMBER, content, state_key=alice.user_id, author=stranger)
    assert await refused(neighbourhood, room, forged) == "M_FORBIDDEN"


@pytest.mark.parametrize(
    ("changes", "state_key"),
    [
        ({"membership": "join"}, None),
        ({"membership": "ban"}, None),
        ({}, "@somebody:b.example"),
        ({}, "@nobody-here:a.example"),
        ({}, "not a user"),
    ],
)
async def test_what_is_no_invite_of_a_local_user_is_refused(
    neighbourhood: Neighbourhood, alice: Person, changes, state_key
) -> None:
    room = named_room(neighbourhood)
    event = invite_of(room, state_key or alice.user_id, **changes)
    assert await refused(neighbourhood, room, event) in ("M_INVALID_PARAM", "M_FORBIDDEN")


async def test_an_event_of_another_type_is_not_signed(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = named_room(neighbourhood)
    event = room.make("m.room.topic", {"membership": "invite"}, state_key=alice.user_id)
    assert await refused(neighbourhood, room, event) == "M_INVALID_PARAM"


async def test_an_event_of_another_room_or_id_is_refused(neighbourhood: Neighbourhood, alice: Person) -> None:
    room, other = named_room(neighbourhood), named_room(neighbourhood)
    event = invite_of(room, alice.user_id)
    assert await refused(neighbourhood, room, event, event=invite_of(other, alice.user_id).pdu) == "M_INVALID_PARAM"
    assert await refused(neighbourhood, other, event) == "M_INVALID_PARAM"


async def test_a_changed_event_is_refused(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = named_room(neighbourhood)
    event = invite_of(room, alice.user_id)
    pdu = {**event.pdu, "content": {**event.content, "displayname": "not hashed"}}
    assert event_id_of(pdu, room.version) == event.event_id  # the redacted form is the same
    assert await refused(neighbourhood, room, event, event=pdu) == "M_FORBIDDEN"


async def test_malformed_invites_are_refused(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = named_room(neighbourhood)
    event = invite_of(room, alice.user_id)
    for changes in ({"signatures": []}, {"depth": "deep"}, {"content": None}, {"prev_events": [[1]]}, {"weight": 71.5}):
        assert await refused(neighbourhood, room, event, event={**event.pdu, **changes}) == "M_BAD_JSON"
    assert await refused(neighbourhood, room, event, event={**event.pdu, "hashes": {}}) == "M_INVALID_PARAM"


async def test_a_giant_state_is_refused_or_cut(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = named_room(neighbourhood)
    event = invite_of(room, alice.user_id)
    many = [{"type": f"t{i}", "state_key": "", "sender": room.creator, "content": {}} for i in range(51)]
    assert await refused(neighbourhood, room, event, invite_room_state=many) == "M_INVALID_PARAM"
    large = {"type": "m.room.topic", "state_key": "", "sender": room.creator, "content": {"topic": "x" * 60_000}}
    others = [{**large, "type": f"t{i}"} for i in range(5)]
    told = [*others, large, *told_of(room)]
    status, _ = await send_invite(neighbourhood.peer, "a.example", room, event, invite_room_state=told)
    assert status == 200
    state = await invite_state(alice, room.room_id)
    assert state is not None
    assert {"m.room.create", "m.room.name", "m.room.topic"} <= state.keys()
    assert not any(event_type.startswith("t") for event_type in state)


async def test_state_that_is_no_state_is_left_out(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = named_room(neighbourhood)
    own = {"type": MEMBER, "state_key": alice.user_id, "sender": room.creator, "content": {"membership": "ban"}}
    forged = {**room.state["m.room.name", ""].pdu, "sender": "@other:peer.example"}
    broken = [1, None, [], {}, {"type": 1}, {"type": "m.room.topic", "content": {}}, own, forged]
    status, _ = await send_invite(
        neighbourhood.peer, "a.example", room, invite_of(room, alice.user_id), invite_room_state=broken
    )
    assert status == 200
    state = await invite_state(alice, room.room_id)
    assert state == {f"member {alice.user_id}": {"membership": "invite"}}


@pytest.mark.parametrize("told", ["nothing", "stripped", "of another room", "forged"])
async def test_since_v12_the_create_event_must_come_with_the_invite(
    neighbourhood: Neighbourhood, alice: Person, told: str
) -> None:
    room = named_room(neighbourhood, "12")
    await asyncio.sleep(0.002)  # rooms of the same millisecond have the same id
    other = named_room(neighbourhood, "12")
    create = room.state["m.room.create", ""].pdu
    state = {
        "nothing": [],
        "stripped": [{key: create[key] for key in ("type", "state_key", "content", "sender")}],
        "of another room": [other.state["m.room.create", ""].pdu],
        "forged": [
            create,
            {**room.state["m.room.name", ""].pdu, "sender": "@x:peer.example"},
        ],
    }[told]
    event = invite_of(room, alice.user_id)
    assert await refused(neighbourhood, room, event, invite_room_state=state) == "M_INVALID_PARAM"


async def test_a_room_id_must_be_one_of_the_version(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = named_room(neighbourhood, "12")
    event = invite_of(room, alice.user_id)
    assert await refused(neighbourhood, room, event, room_version="11") == "M_INVALID_PARAM"


async def test_invites_that_are_not_answered_are_limited(neighbourhood: Neighbourhood, alice: Person) -> None:
    membership = neighbourhood.a.process.homeservers[0].homeserver.invite_receipt.outside
    object.__setattr__(membership, "invites_max", 2)
    try:
        for expected in (200, 200, 429):
            room = named_room(neighbourhood)
            status, _ = await send_invite(neighbourhood.peer, "a.example", room, invite_of(room, alice.user_id))
            assert status == expected
    finally:
        object.__setattr__(membership, "invites_max", 1_000)


async def test_an_invited_user_reads_nothing_of_a_room_elsewhere(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = named_room(neighbourhood)
    event = invite_of(room, alice.user_id)
    await send_invite(neighbourhood.peer, "a.example", room, event)
    of_room = f"rooms/{quote(room.room_id)}"
    for path in ("state", "state/m.room.name/", "members", "joined_members", "messages"):
        await alice.refused(403, "M_FORBIDDEN", "GET", f"{of_room}/{path}", dir="b")
    await alice.refused(404, "M_NOT_FOUND", "GET", f"{of_room}/event/{event.event_id}")
    await alice.refused(
        404, "M_NOT_FOUND", "PUT", f"{of_room}/send/m.room.message/1", {"body": "x", "msgtype": "m.text"}
    )
    await alice.refused(404, "M_NOT_FOUND", "PUT", f"{of_room}/state/m.room.topic/", {"topic": "x"})
    assert (await alice.get("joined_rooms"))["joined_rooms"] == []


async def test_memberships_of_rooms_elsewhere_can_be_derived_anew(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = named_room(neighbourhood)
    await send_invite(neighbourhood.peer, "a.example", room, invite_of(room, alice.user_id))
    store = neighbourhood.a.process.homeservers[0].store
    async with store.database.transaction() as tx:
        assert (await rebuild_derived(tx, store.codec)).mended == 0
        await tx.execute("DELETE FROM memberships WHERE user_id = $1", alice.user_id)
        await tx.execute("DELETE FROM membership_history WHERE user_id = $1", alice.user_id)
        assert (await rebuild_derived(tx, store.codec)).mended == 2
    assert await section(alice, "invite", room.room_id) is not None


async def test_an_invite_is_among_the_notifications(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = named_room(neighbourhood)
    event = invite_of(room, alice.user_id)
    await send_invite(neighbourhood.peer, "a.example", room, event)
    (notification,) = (await alice.get("notifications"))["notifications"]
    assert (notification["room_id"], notification["event"]["event_id"]) == (room.room_id, event.event_id)
    assert "notify" in notification["actions"]


async def test_what_the_room_itself_tells_takes_the_place_of_the_invite(
    neighbourhood: Neighbourhood, alice: Person
) -> None:
    room = named_room(neighbourhood)
    room.serve(neighbourhood.peer)
    await send_invite(neighbourhood.peer, "a.example", room, room.take(invite_of(room, alice.user_id)))
    await alice.join(room.room_id)
    store = neighbourhood.a.process.homeservers[0].store
    async with store.database.transaction() as tx:
        await reap(tx)
        left = await tx.fetchval("SELECT count(*) FROM outside_memberships WHERE user_id = $1", alice.user_id)
        assert (left, (await rebuild_derived(tx, store.codec)).mended) == (0, 0)
    assert await section(alice, "join", room.room_id) is not None
