"""Which state events authorise an event, and the rule "Considering the event's auth_events".

Spec: https://spec.matrix.org/v1.19/server-server-api/#auth-events-selection
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
from tim_server.matrix.errors import EventRejected
from tim_server.matrix.event_auth import auth_types_for, check_auth_events
from tim_server.matrix.room_versions import V6, V7, V8, V11, V12

every_version = pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
CREATE = ("m.room.create", "")
POWER_LEVELS = ("m.room.power_levels", "")
JOIN_RULES = ("m.room.join_rules", "")


def member(user_id):
    """The key of a membership."""
    return ("m.room.member", user_id)


def selection(version, type, sender=BOB, state_key=None, **content):
    """The selected keys, without those that nearly every event has."""
    selected = auth_types_for(type, sender, state_key, content, version)
    common = {POWER_LEVELS, member(sender)} | (set() if version is V12 else {CREATE})
    assert common <= selected
    assert (CREATE in selected) is (version is not V12)
    return selected - common


@every_version
def test_a_create_event_has_no_auth_events(version):
    assert auth_types_for("m.room.create", ALICE, "", {"creator": ALICE}, version) == set()


@every_version
@pytest.mark.parametrize("state_key", [None, "", "@bob:hospital.example"])
def test_other_events_have_create_power_levels_and_the_senders_membership(version, state_key):
    content = {"membership": "join", "join_authorised_via_users_server": ALICE}
    assert selection(version, "m.room.topic", state_key=state_key, **content) == set()


@every_version
@pytest.mark.parametrize(
    ("membership", "with_join_rules"),
    [("join", True), ("invite", True), ("knock", True), ("leave", False), ("ban", False), ("other", False)],
)
def test_a_member_event_has_the_targets_membership_and_some_the_join_rules(version, membership, with_join_rules):
    expected = {member(CAROL)} | ({JOIN_RULES} if with_join_rules else set())
    assert selection(version, "m.room.member", state_key=CAROL, membership=membership) == expected


@every_version
def test_an_invite_has_the_third_party_invite_of_its_token(version):
    content = {"third_party_invite": {"signed": {"token": "t", "mxid": CAROL}}}
    invite = selection(version, "m.room.member", state_key=CAROL, membership="invite", **content)
    assert invite == {member(CAROL), JOIN_RULES, ("m.room.third_party_invite", "t")}
    join = selection(version, "m.room.member", CAROL, state_key=CAROL, membership="join", **content)
    assert join == {JOIN_RULES}


@pytest.mark.parametrize("invite", [None, 5, {}, {"signed": None}, {"signed": {}}, {"signed": {"token": 5}}])
def test_a_malformed_third_party_invite_selects_nothing(invite):
    selected = selection(V11, "m.room.member", state_key=CAROL, membership="invite", third_party_invite=invite)
    assert selected == {member(CAROL), JOIN_RULES}


@every_version
def test_a_restricted_join_has_the_membership_of_who_authorised_it_since_v8(version):
    content = {"membership": "join", "join_authorised_via_users_server": ALICE}
    extra = {member(ALICE)} if version in versions(8) else set()
    assert selection(version, "m.room.member", CAROL, CAROL, **content) == {JOIN_RULES} | extra


@pytest.mark.parametrize("membership", ["invite", "leave", "ban", "knock"])
def test_only_a_join_has_the_membership_of_who_authorised_it(membership):
    content = {"membership": membership, "join_authorised_via_users_server": ALICE}
    assert member(ALICE) not in selection(V8, "m.room.member", CAROL, CAROL, **content)


@pytest.mark.parametrize("value", [None, 5, [ALICE]])
def test_a_malformed_authorising_user_selects_nothing(value):
    content = {"membership": "join", "join_authorised_via_users_server": value}
    assert selection(V8, "m.room.member", CAROL, CAROL, **content) == {JOIN_RULES}


def test_keys_are_plain_strings_whatever_the_identifiers_are():
    for key in auth_types_for("m.room.member", ALICE, BOB, {"membership": "invite"}, V7):
        assert all(type(part) is str for part in key)


# "Considering the event's auth_events"


def auth_events_of(room, event):
    """The auth events that the selection finds in the room's state."""
    keys = auth_types_for(event.type, event.sender, event.state_key, event.content, room.version)
    return [room.state[key] for key in sorted(keys) if key in room.state]


def rejection(event, auth_events, rejected=frozenset()):
    """Why the auth events are rejected, or None."""
    try:
        check_auth_events(event, auth_events, rejected)
    except EventRejected as error:
        return str(error)
    return None


@every_version
def test_selected_auth_events_are_allowed(version):
    room = make_room(version)
    for event in (
        room.event(),
        room.event("m.room.topic", ALICE, state_key=""),
        room.event("m.room.member", ALICE, state_key=MALLORY, content={"membership": "invite"}),
        room.event("m.room.member", BOB, state_key=BOB, content={"membership": "leave"}),
    ):
        assert rejection(event, auth_events_of(room, event)) is None
        assert rejection(event, reversed(auth_events_of(room, event))) is None


@every_version
def test_duplicate_auth_events_are_rejected(version):
    room = make_room(version)
    event = room.event()
    auth_events = auth_events_of(room, event)
    assert "duplicate" in rejection(event, [*auth_events, auth_events[-1]])
    assert "duplicate" in rejection(event, [*auth_events, room.set_member(BOB, "join")])


@every_version
def test_auth_events_that_are_not_selected_are_rejected(version):
    room = make_room(version)
    event = room.event()
    for key in (JOIN_RULES, member(CAROL)):
        assert "does not authorise" in rejection(event, [*auth_events_of(room, event), room.state[key]])


@every_version
def test_an_auth_event_that_is_no_state_is_rejected(version):
    room = make_room(version)
    event = room.event()
    message = room.event("m.room.power_levels", ALICE)
    without_power_levels = [auth_event for auth_event in auth_events_of(room, event) if auth_event.type != message.type]
    assert "no state" in rejection(event, [*without_power_levels, message])


@every_version
def test_rejected_auth_events_are_rejected(version):
    room = make_room(version)
    event = room.event()
    for auth_event in auth_events_of(room, event):
        assert "rejected" in rejection(event, auth_events_of(room, event), frozenset({auth_event.event_id}))


@every_version
def test_the_create_event_is_among_them_until_v11_and_not_since_v12(version):
    room = make_room(version)
    event = room.event()
    others = [auth_event for auth_event in auth_events_of(room, event) if auth_event.type != "m.room.create"]
    with_create = rejection(event, [room.create, *others])
    without_create = rejection(event, others)
    if version is V12:
        assert "does not authorise" in with_create
        assert without_create is None
    else:
        assert with_create is None
        assert "no create event" in without_create


@every_version
def test_auth_events_of_another_room_are_rejected(version):
    room = make_room(version)
    event = room.event()
    elsewhere = make_event(
        version, "!elsewhere:hospital.example", "m.room.member", BOB, state_key=BOB, content={"membership": "join"}
    )
    auth_events = [auth_event for auth_event in auth_events_of(room, event) if auth_event.state_key != BOB]
    assert rejection(event, auth_events) is None
    assert "another room" in rejection(event, [*auth_events, elsewhere])


def test_a_create_event_is_not_asked_for_auth_events():
    room = make_room(V6)
    assert rejection(room.create, []) is None
