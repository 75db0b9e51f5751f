"""The authorisation rules of all events but memberships and power levels, version by version.

Spec: https://spec.matrix.org/v1.19/rooms/v12/#authorization-rules
"""

import pytest

from tests.matrix.event_auth.rooms import (
    ALICE,
    ALL_VERSIONS,
    BOB,
    CAROL,
    MALLORY,
    make_event,
    make_room,
    version_name,
    versions,
)
from tim_server.matrix.identifiers import EventId
from tim_server.matrix.room_versions import V2, V3, V5, V6, V11, V12

every_version = pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
until_v11 = pytest.mark.parametrize("version", versions(1, 11), ids=version_name)


def create_event(version, *, room_id="!new:hospital.example", sender=ALICE, **fields):
    """The create event of another room."""
    content = {"creator": ALICE, "room_version": version.identifier}
    pdu = {} if version.room_id_is_create_hash else {"room_id": room_id}
    values = {"state_key": "", "content": content, "prev_events": (), "pdu": pdu} | fields
    return make_event(version, room_id, "m.room.create", sender, **values)


def create_rejection(version, **fields):
    """Why the create event is rejected."""
    return make_room(version).rejection(create_event(version, **fields))


# Rule 1: m.room.create


@every_version
def test_a_create_event_is_allowed(version):
    assert create_rejection(version) is None


@every_version
def test_a_create_event_with_previous_events_is_rejected(version):
    assert "prev_events" in create_rejection(version, prev_events=(EventId("$before"),))


@until_v11
def test_a_create_event_for_a_room_of_another_server_is_rejected_until_v11(version):
    assert "server" in create_rejection(version, room_id="!new:clinic.example")
    assert "server" in create_rejection(version, sender=CAROL)


def test_a_create_event_with_a_room_id_is_rejected_since_v12():
    assert "room_id" in create_rejection(V12, pdu={"room_id": "!new:hospital.example"})


@every_version
@pytest.mark.parametrize("stated", ["0", "13", "org.example.unknown", "", 11, None, ["11"]])
def test_a_room_version_that_is_not_recognised_is_rejected(version, stated):
    content = {"creator": ALICE, "room_version": stated}
    assert "version" in create_rejection(version, content=content)


@every_version
def test_a_create_event_without_room_version_is_allowed(version):
    assert create_rejection(version, content={"creator": ALICE}) is None


@every_version
def test_a_create_event_without_creator_is_rejected_until_v10(version):
    rejection = create_rejection(version, content={"room_version": version.identifier})
    assert ("creator" in rejection) if version in versions(1, 10) else rejection is None


@pytest.mark.parametrize(
    "value", [None, "@dave:lab.example", {}, [5], ["dave"], ["@dave"], ["@dave:lab.example", None]]
)
def test_additional_creators_that_are_no_users_are_rejected_since_v12(value):
    content = {"creator": ALICE, "additional_creators": value}
    assert "additional_creators" in create_rejection(V12, content=content)
    assert create_rejection(V11, content=content) is None


@pytest.mark.parametrize("value", [[], ["@dave:lab.example"], ["@dave:lab.example", "@eve:lab.example"]])
def test_additional_creators_are_allowed(value):
    assert create_rejection(V12, content={"additional_creators": value}) is None


# Rule 2: the room exists


@every_version
def test_an_event_in_a_room_without_create_event_is_rejected(version):
    room = make_room(version)
    del room.state["m.room.create", ""]
    assert "create" in room.rejection(room.event())


def test_a_room_id_that_is_not_that_of_the_create_event_is_rejected_since_v12():
    room = make_room(V12)
    assert room.rejection(room.event()) is None
    room.room_id = "!" + "x" * 43
    assert "room id" in room.rejection(room.event())


# m.federate


@every_version
def test_users_of_other_servers_are_rejected_where_the_room_does_not_federate(version):
    room = make_room(version, **{"m.federate": False})
    assert room.allows(sender=BOB)
    assert not room.allows(sender=CAROL)
    assert "federate" in room.rejection(
        room.event("m.room.member", CAROL, state_key=CAROL, content={"membership": "join"})
    )


@every_version
@pytest.mark.parametrize("value", [True, None, 0, "false"])
def test_users_of_other_servers_are_allowed_where_the_room_does_not_forbid_it(version, value):
    assert make_room(version, **{"m.federate": value}).allows(sender=CAROL)


# m.room.aliases


@pytest.mark.parametrize("version", versions(1, 5), ids=version_name)
def test_aliases_are_for_the_senders_server_until_v5(version):
    room = make_room(version)
    assert room.allows("m.room.aliases", BOB, state_key="hospital.example")
    assert not room.allows("m.room.aliases", BOB, state_key="clinic.example")
    assert not room.allows("m.room.aliases", BOB)


def test_aliases_of_one_who_is_not_joined_are_allowed_until_v5():
    assert make_room(V5).allows("m.room.aliases", MALLORY, state_key="elsewhere.example")
    assert not make_room(V6).allows("m.room.aliases", MALLORY, state_key="elsewhere.example")


@pytest.mark.parametrize("version", versions(6), ids=version_name)
def test_aliases_are_state_like_any_other_since_v6(version):
    room = make_room(version)
    assert not room.allows("m.room.aliases", BOB, state_key="hospital.example")
    assert room.allows("m.room.aliases", ALICE, state_key="clinic.example")


# Rule 6: membership of the sender


@every_version
@pytest.mark.parametrize("membership", ["leave", "ban", "invite", "knock", None])
def test_sender_who_is_not_joined_is_rejected(version, membership):
    room = make_room(version)
    if membership is not None:
        room.set_member(MALLORY, membership)
    room.set_power(users={MALLORY: 100})
    assert "not joined" in room.rejection(room.event(sender=MALLORY))
    assert "not joined" in room.rejection(room.event("m.room.topic", MALLORY, state_key=""))


@every_version
def test_a_message_of_a_joined_user_is_allowed(version):
    assert make_room(version).allows(sender=BOB)


# Rule 7: m.room.third_party_invite


@every_version
def test_a_third_party_invite_needs_the_invite_level_alone(version):
    room = make_room(version)
    room.set_power(invite=30, users={BOB: 30, CAROL: 29}, events={"m.room.third_party_invite": 99})
    assert room.allows("m.room.third_party_invite", BOB, state_key="token")
    assert not room.allows("m.room.third_party_invite", CAROL, state_key="token")


# Rule 8: required power level


@every_version
def test_the_required_power_level_of_a_type_that_is_listed(version):
    room = make_room(version)
    room.set_power(users={BOB: 20, CAROL: 19}, events={"m.room.topic": 20, "m.room.message": 20})
    for fields in ({"type": "m.room.message"}, {"type": "m.room.topic", "state_key": ""}):
        assert room.allows(sender=BOB, **fields)
        assert not room.allows(sender=CAROL, **fields)


@every_version
def test_the_required_power_level_of_other_types_is_the_default_of_state_or_events(version):
    room = make_room(version)
    room.set_power(users={BOB: 20, CAROL: 10}, state_default=20, events_default=10, users_default=9)
    assert room.allows("m.room.topic", BOB, state_key="")
    assert not room.allows("m.room.topic", CAROL, state_key="")
    assert room.allows("m.room.message", CAROL)
    room.set_member(MALLORY, "join")
    assert not room.allows("m.room.message", MALLORY)


@every_version
def test_state_needs_50_and_messages_0_where_the_power_levels_do_not_say(version):
    room = make_room(version)
    room.set_power(users={BOB: 50, CAROL: 49})
    assert room.allows("m.room.topic", BOB, state_key="")
    assert not room.allows("m.room.topic", CAROL, state_key="")
    assert room.allows("m.room.message", CAROL)
    room.set_power(users={CAROL: -1})
    assert not room.allows("m.room.message", CAROL)


@every_version
def test_only_the_creator_sends_state_in_a_room_without_power_levels(version):
    room = make_room(version)
    del room.state["m.room.power_levels", ""]
    assert room.allows("m.room.topic", ALICE, state_key="")
    assert not room.allows("m.room.topic", BOB, state_key="")
    assert room.allows("m.room.message", BOB)


def test_the_creator_is_who_the_content_says_until_v10_and_the_sender_since_v11():
    for version in ALL_VERSIONS:
        room = make_room(version, creator=str(BOB))
        del room.state["m.room.power_levels", ""]
        creator, other = (BOB, ALICE) if version in versions(1, 10) else (ALICE, BOB)
        assert room.allows("m.room.topic", creator, state_key="")
        assert not room.allows("m.room.topic", other, state_key="")


def test_all_creators_have_power_over_everything_since_v12():
    for version in (V11, V12):
        room = make_room(version, additional_creators=[str(CAROL)])
        room.set("m.room.power_levels", {"events": {"m.room.topic": 2**53 - 1}, "users": {BOB: 2**53 - 2}})
        assert not room.allows("m.room.topic", BOB, state_key="")
        assert room.allows("m.room.topic", CAROL, state_key="") is (version is V12)
        assert room.allows("m.room.topic", ALICE, state_key="") is (version is V12)


# Rule 9: state keys that are user ids


@every_version
def test_a_state_key_that_is_another_users_id_is_rejected(version):
    room = make_room(version)
    assert room.allows("org.example.seat", ALICE, state_key=str(ALICE))
    assert not room.allows("org.example.seat", ALICE, state_key=str(BOB))
    assert not room.allows("org.example.seat", ALICE, state_key="@")
    assert room.allows("org.example.seat", ALICE, state_key="seat@window")


# v1 and v2: m.room.redaction


def redaction_allowed(version, sender, redacts):
    """Whether a redaction is allowed where the redact level is 50, and Bob has it."""
    room = make_room(version)
    room.set_power(users={BOB: 50, CAROL: 49})
    return room.allows("m.room.redaction", sender, redacts=redacts)


@pytest.mark.parametrize("version", versions(1, 2), ids=version_name)
def test_a_redaction_needs_power_or_an_event_of_the_same_server_until_v2(version):
    assert redaction_allowed(version, BOB, EventId("$1:clinic.example"))
    assert redaction_allowed(version, CAROL, EventId("$1:clinic.example"))
    assert not redaction_allowed(version, CAROL, EventId("$1:hospital.example"))
    assert not redaction_allowed(version, CAROL, None)


def test_a_redaction_is_allowed_like_any_event_since_v3():
    assert not redaction_allowed(V2, CAROL, EventId("$1:hospital.example"))
    for version in versions(3):
        assert redaction_allowed(version, CAROL, EventId("$1"))


def test_a_redaction_needs_the_level_of_its_type_in_every_version():
    for version in (V2, V3, V11):
        room = make_room(version)
        room.set_power(events={"m.room.redaction": 10}, redact=0)
        assert not room.allows("m.room.redaction", BOB, redacts=EventId("$1:hospital.example"))
