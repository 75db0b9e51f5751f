"""`create_room.yaml`."""

import secrets
from typing import Any

import pytest

from tests.people import SERVER, Hospital, Person
from tim_server.matrix.room_versions import ROOM_VERSIONS


async def events_of(person: Person, room_id: str) -> list[dict[str, Any]]:
    """All events of a young room, oldest first."""
    page = await person.history(room_id, dir="f", limit=100)
    return list(page["chunk"])


async def types_of(person: Person, room_id: str) -> list[str]:
    return [event["type"] for event in await events_of(person, room_id)]


async def refused(person: Person, status: int, errcode: str, **options: Any) -> None:
    """Creating a room must fail like this, and leave the person in the rooms that they were in."""
    before = await person.get("joined_rooms")
    await person.refused(status, errcode, "POST", "createRoom", options)
    assert await person.get("joined_rooms") == before


async def test_events_come_in_the_order_of_the_specification(hospital: Hospital) -> None:
    alice, bob = await hospital.person(displayname="Alice"), await hospital.person(displayname="Bob")
    alias = secrets.token_hex(4)
    room_id = await alice.create_room(
        preset="private_chat",
        name="Ward 3",
        topic="Rounds at eight",
        room_alias_name=alias,
        initial_state=[{"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}],
        invite=[bob.user_id],
        is_direct=True,
    )
    assert await types_of(alice, room_id) == [
        "m.room.create",
        "m.room.member",
        "m.room.power_levels",
        "m.room.canonical_alias",
        "m.room.join_rules",
        "m.room.history_visibility",
        "m.room.guest_access",
        "m.room.encryption",
        "m.room.name",
        "m.room.topic",
        "m.room.member",
    ]
    own = await alice.state(room_id, "m.room.member", alice.user_id)
    assert own == {"membership": "join", "displayname": "Alice"}
    invite = await alice.state(room_id, "m.room.member", bob.user_id)
    assert invite == {"membership": "invite", "displayname": "Bob", "is_direct": True}
    assert await alice.state(room_id, "m.room.canonical_alias") == {"alias": f"#{alias}:{SERVER}"}
    topic = await alice.state(room_id, "m.room.topic")
    assert topic["topic"] == "Rounds at eight"
    assert topic["m.topic"]["m.text"] == [{"body": "Rounds at eight", "mimetype": "text/plain"}]


@pytest.mark.parametrize(
    ("preset", "join_rule", "guest_access"),
    [
        ("private_chat", "invite", "can_join"),
        ("trusted_private_chat", "invite", "can_join"),
        ("public_chat", "public", "forbidden"),
    ],
)
async def test_presets(hospital: Hospital, preset: str, join_rule: str, guest_access: str) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room(preset=preset)
    assert await alice.state(room_id, "m.room.join_rules") == {"join_rule": join_rule}
    assert await alice.state(room_id, "m.room.history_visibility") == {"history_visibility": "shared"}
    assert await alice.state(room_id, "m.room.guest_access") == {"guest_access": guest_access}


@pytest.mark.parametrize(("visibility", "join_rule"), [("public", "public"), ("private", "invite")])
async def test_visibility_chooses_the_preset_and_the_directory(
    hospital: Hospital, visibility: str, join_rule: str
) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room(visibility=visibility)
    assert (await alice.state(room_id, "m.room.join_rules"))["join_rule"] == join_rule
    assert await alice.get(f"directory/list/room/{room_id}") == {"visibility": visibility}


@pytest.mark.parametrize("version", sorted(ROOM_VERSIONS, key=int))
async def test_every_room_version_works(hospital: Hospital, version: str) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room(room_version=version, preset="public_chat")
    create = (await events_of(alice, room_id))[0]
    assert create["content"]["room_version"] == version
    assert ("creator" in create["content"]) == (int(version) <= 10)
    if version == "12":
        assert room_id == "!" + create["event_id"][1:]
    else:
        assert room_id.endswith(f":{SERVER}")
    await bob.join(room_id)
    await bob.say(room_id, "Good morning")
    assert "Good morning" in await alice.bodies(room_id)


async def test_unknown_version_is_refused(hospital: Hospital) -> None:
    alice = await hospital.person()
    await refused(alice, 400, "M_UNSUPPORTED_ROOM_VERSION", room_version="0")
    await refused(alice, 400, "M_BAD_JSON", room_version=12)


async def test_creator_cannot_be_given(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    content = {"creator": bob.user_id, "room_version": "1", "m.federate": False}
    room_id = await alice.create_room(room_version="10", creation_content=content)
    assert await alice.state(room_id, "m.room.create") == {
        "creator": alice.user_id,
        "room_version": "10",
        "m.federate": False,
    }


async def test_trusted_invitees_have_the_level_of_the_creator_before_v12(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room(room_version="11", preset="trusted_private_chat", invite=[bob.user_id])
    levels = await alice.state(room_id, "m.room.power_levels")
    assert levels["users"] == {alice.user_id: 100, bob.user_id: 100}


async def test_trusted_invitees_are_creators_since_v12(hospital: Hospital) -> None:
    alice, bob, carol = await hospital.person(), await hospital.person(), await hospital.person()
    room_id = await alice.create_room(
        room_version="12",
        preset="trusted_private_chat",
        invite=[bob.user_id, carol.user_id],
        creation_content={"additional_creators": [carol.user_id]},
    )
    create = await alice.state(room_id, "m.room.create")
    assert create["additional_creators"] == [carol.user_id, bob.user_id]
    levels = await alice.state(room_id, "m.room.power_levels")
    assert levels["users"] == {}
    assert levels["events"]["m.room.tombstone"] > levels["state_default"]
    await bob.join(room_id)
    await bob.set_state(room_id, "m.room.power_levels", {**levels, "ban": 99})


@pytest.mark.parametrize("creators", ["@alice:hospital.example", ["nobody"], [1]])
async def test_additional_creators_must_be_user_ids(hospital: Hospital, creators: Any) -> None:
    alice = await hospital.person()
    await refused(alice, 400, "M_BAD_JSON", room_version="12", creation_content={"additional_creators": creators})


async def test_power_levels_are_overridden_key_by_key(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room(power_level_content_override={"invite": 75, "events": {"m.room.name": 1}})
    levels = await alice.state(room_id, "m.room.power_levels")
    assert (levels["invite"], levels["ban"]) == (75, 50)
    assert levels["events"]["m.room.name"] == 1
    assert levels["events"]["m.room.tombstone"] == 150


async def test_levels_that_keep_the_creator_from_finishing_are_refused(hospital: Hospital) -> None:
    alice = await hospital.person()
    override = {"users": {alice.user_id: 10}, "events": {"m.room.name": 50}}
    options = {"room_version": "11", "name": "Ward 3", "power_level_content_override": override}
    await refused(alice, 400, "M_INVALID_ROOM_STATE", **options)


async def test_levels_must_be_integers(hospital: Hospital) -> None:
    alice = await hospital.person()
    await refused(alice, 400, "M_BAD_JSON", power_level_content_override={"ban": "50"})
    await refused(alice, 400, "M_BAD_JSON", power_level_content_override={"users": {alice.user_id: 1.5}})


async def test_initial_state_comes_before_presets_and_after_name_and_topic(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room(
        preset="private_chat",
        name="The name",
        initial_state=[
            {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}},
            {"type": "m.room.name", "content": {"name": "Another name"}},
            {"type": "org.example.bed", "state_key": "7", "content": {"free": True}},
        ],
    )
    types = await types_of(alice, room_id)
    assert types.count("m.room.history_visibility") == 1
    assert types.count("m.room.name") == 1
    assert await alice.state(room_id, "m.room.history_visibility") == {"history_visibility": "joined"}
    assert await alice.state(room_id, "m.room.name") == {"name": "The name"}
    assert await alice.state(room_id, "org.example.bed", "7") == {"free": True}


async def test_power_levels_may_be_given_as_initial_state(hospital: Hospital) -> None:
    alice = await hospital.person()
    levels = {"users": {alice.user_id: 100}, "state_default": 30}
    state = [{"type": "m.room.power_levels", "content": levels}]
    room_id = await alice.create_room(room_version="11", initial_state=state)
    assert (await types_of(alice, room_id)).count("m.room.power_levels") == 1
    assert await alice.state(room_id, "m.room.power_levels") == levels


async def test_taken_alias_changes_nothing(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    alias = secrets.token_hex(4)
    room_id = await alice.create_room(room_alias_name=alias)
    await refused(bob, 400, "M_ROOM_IN_USE", room_alias_name=alias)
    resolved = await bob.get(f"directory/room/%23{alias}:{SERVER}")
    assert resolved == {"room_id": room_id, "servers": [SERVER]}


@pytest.mark.parametrize("name", ["with space", "with:colon", "x" * 255, "#sigil:x"])
async def test_impossible_alias_is_refused(hospital: Hospital, name: str) -> None:
    alice = await hospital.person()
    await refused(alice, 400, "M_INVALID_PARAM", room_alias_name=name)


async def test_addresses_cannot_be_invited_where_no_identity_server_is_allowed(hospital: Hospital) -> None:
    alice = await hospital.person()
    invite = [{"id_server": "id.example", "id_access_token": "x", "medium": "email", "address": "bob@example.org"}]
    await refused(alice, 403, "M_SERVER_NOT_TRUSTED", invite_3pid=invite)


@pytest.mark.parametrize(
    "options",
    [
        {"name": 1},
        {"invite": "@bob:hospital.example"},
        {"initial_state": [{"type": "m.room.name"}]},
        {"initial_state": [{"type": "org.example", "content": {"temperature": 37.5}}]},
        {"initial_state": [{"type": "org.example", "content": {"n": 2**53}}]},
        {"creation_content": []},
    ],
)
async def test_malformed_options_are_refused(hospital: Hospital, options: dict[str, Any]) -> None:
    alice = await hospital.person()
    answer = await alice.expect(400, "POST", "createRoom", options)
    assert answer["errcode"] in ("M_BAD_JSON", "M_MISSING_PARAM")
    assert await alice.get("joined_rooms") == {"joined_rooms": []}


async def test_unknown_preset_is_refused(hospital: Hospital) -> None:
    alice = await hospital.person()
    await refused(alice, 400, "M_INVALID_PARAM", preset="secret_chat")
    await refused(alice, 400, "M_INVALID_PARAM", invite=["bob"])


async def test_one_refused_event_refuses_the_room(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    state = [{"type": "org.example", "state_key": bob.user_id, "content": {}}]
    await refused(alice, 400, "M_INVALID_ROOM_STATE", initial_state=state)
