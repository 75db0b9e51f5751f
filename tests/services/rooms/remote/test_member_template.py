"""Templates of other servers: nothing but the user's own member event is ever signed."""

from typing import Any

import pytest

from tests.peer import make_author
from tests.peer_room import PeerRoom
from tim_server.federation.errors import RemoteError
from tim_server.federation.membership import Template
from tim_server.matrix.canonical_json import decode, encode_relaxed
from tim_server.matrix.events.read import read_pdu
from tim_server.matrix.events.signatures import verify_event_signature
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.rooms.remote.member_template import CheckedTemplate, check_template, member_event

PEER = make_author("peer.example")
OURS = make_author("hospital.example", seed=9)
ALICE = UserId("@alice:hospital.example")


def check(room: PeerRoom, template: dict[str, Any]) -> CheckedTemplate:
    told = Template(room_version=template["room_version"], event=template["event"])
    return check_template(told, ServerName("peer.example"), room.room_id, ALICE, "join")


@pytest.mark.parametrize("version", [str(number) for number in range(1, 13)])
def test_the_event_is_the_users_own_and_ours(version: str) -> None:
    room = PeerRoom.create(PEER, version)
    template = room.template(ALICE, displayname="Mallory", **{"m.evil": True})
    template["event"]["origin_server_ts"] = 1
    content = {"membership": "join", "displayname": "Alice"}
    event = member_event(check(room, template), ALICE, content, author=OURS, now_ms=5, unique="one")
    assert (event.sender, event.state_key, event.content, event.origin_server_ts) == (ALICE, ALICE, content, 5)
    assert event.prev_events == room.prev and event.room_id == room.room_id
    verify_event_signature(event.pdu, room.version, OURS.server_name, OURS.key.key_id, OURS.key.verify_key)
    assert read_pdu(decode(encode_relaxed(event.pdu)), room.version).event_id == event.event_id


def test_who_authorises_a_restricted_join_is_taken_over() -> None:
    room = PeerRoom.create(PEER, "10")
    checked = check(room, room.template(ALICE, join_authorised_via_users_server=room.creator))
    assert checked.authorised_via == room.creator
    event = member_event(checked, ALICE, {"membership": "join"}, author=OURS, now_ms=5, unique="one")
    assert event.content["join_authorised_via_users_server"] == room.creator


@pytest.mark.parametrize("version", ["1", "11"])
@pytest.mark.parametrize(
    "changes",
    [
        {"room_id": "!other:peer.example"},
        {"sender": "@bob:hospital.example"},
        {"state_key": "@bob:hospital.example"},
        {"state_key": None},
        {"type": "m.room.message"},
        {"content": {"membership": "invite"}},
        {"content": {}},
        {"content": "join"},
        {"depth": "12"},
        {"depth": -1},
        {"depth": True},
        {"prev_events": []},
        {"prev_events": None},
        {"prev_events": ["no id"]},
        {"prev_events": [{"a": 1}]},
        {"prev_events": ["$x:peer.example"] * 30},
        {"auth_events": [["$x:peer.example", {}]] * 30},
        {"auth_events": 5},
    ],
)
def test_a_template_of_anything_else_is_refused(version: str, changes: dict[str, Any]) -> None:
    room = PeerRoom.create(PEER, version)
    template = room.template(ALICE)
    template["event"] |= changes
    with pytest.raises(RemoteError):
        check(room, template)


def test_a_template_that_names_nobody_sensible_as_authorising_is_refused() -> None:
    room = PeerRoom.create(PEER, "10")
    for value in ("nobody", 5, ["@a:b"]):
        with pytest.raises(RemoteError):
            check(room, room.template(ALICE, join_authorised_via_users_server=value))


def test_a_version_that_is_not_known_is_refused_as_such() -> None:
    room = PeerRoom.create(PEER)
    with pytest.raises(RemoteError) as raised:
        check(room, room.template(ALICE) | {"room_version": "org.example.next"})
    assert raised.value.errcode == "M_INCOMPATIBLE_ROOM_VERSION"
