"""Requests about rooms that the rules of rooms forbid give the error that the specification names, and change nothing.

Spec: https://spec.matrix.org/v1.19/client-server-api/#rooms
"""

from typing import Any
from urllib.parse import quote

import pytest

from tests.scenarios.ward import Ward

Case = tuple[str, str, Any, str]

TEXT = {"msgtype": "m.text", "body": "hello"}
SEND = "PUT rooms/{room}/send/m.room.message/1"
POWER = "PUT rooms/{room}/state/m.room.power_levels"
CREATE = "POST createRoom"
FORBIDDEN, NOT_FOUND, BAD_JSON, INVALID = "403 M_FORBIDDEN", "404 M_NOT_FOUND", "400 M_BAD_JSON", "400 M_INVALID_PARAM"
UNREACHABLE = "502 M_UNKNOWN"


def cases(*cases: Case) -> pytest.MarkDecorator:
    """Who, `METHOD path`, body, `status errcode`."""
    names = [f"{who} {request_line[:60]} {str(body)[:60]}" for who, request_line, body, _ in cases]
    return pytest.mark.parametrize(("who", "request_line", "body", "expected"), cases, ids=names)


OF_ROOM: list[tuple[str, Any]] = [
    ("PUT rooms/{this}/send/m.room.message/1", TEXT),
    ("PUT rooms/{this}/state/m.room.name", {"name": "x"}),
    ("PUT rooms/{this}/redact/{message}/1", {}),
    ("POST rooms/{this}/invite", {"user_id": "{stranger}"}),
    ("POST rooms/{this}/kick", {"user_id": "{bob}"}),
    ("POST rooms/{this}/ban", {"user_id": "{bob}"}),
    ("POST rooms/{this}/unban", {"user_id": "{mallory}"}),
    ("PUT directory/room/%23new:hospital.example", {"room_id": "{this}"}),
    ("PUT directory/list/room/{this}", {"visibility": "public"}),
    ("GET rooms/{this}/messages?dir=b", None),
    ("GET rooms/{this}/state", None),
    ("GET rooms/{this}/state/m.room.name", None),
    ("GET rooms/{this}/members", None),
    ("GET rooms/{this}/joined_members", None),
    ("GET rooms/{this}/context/{message}", None),
    ("GET rooms/{this}/event/{message}", None),
    ("GET rooms/{this}/aliases", None),
    ("POST rooms/{this}/receipt/m.read/{message}", {}),
    ("POST rooms/{this}/read_markers", {"m.read": "{message}"}),
    ("POST rooms/{this}/report/{message}", {"reason": "x"}),
    ("GET /_matrix/client/v1/rooms/{this}/relations/{message}", None),
    ("GET /_matrix/client/v1/rooms/{this}/threads", None),
    ("GET /_matrix/client/v1/rooms/{this}/timestamp_to_event?ts=1&dir=f", None),
]
READ_OF_EVENTS = ("/messages", "/context", "/event", "/relations", "/threads", "/timestamp_to_event")
READ_BY_THOSE_WHO_LEFT = (*READ_OF_EVENTS, "/state", "/members", "/joined_members")


@pytest.mark.parametrize("room", ["v5", "v9", "v10", "v12"])
@pytest.mark.parametrize("who", ["stranger", "mallory", "left"])
async def test_who_is_not_joined_does_and_sees_nothing(ward: Ward, who: str, room: str) -> None:
    for template, body in OF_ROOM:
        method, path = template.split(" ", 1)
        if method == "GET" and who != "stranger" and any(part in path for part in READ_BY_THOSE_WHO_LEFT):
            continue  # they still see what happened while they were there
        hides_event = any(part in path for part in ("/event/", "/redact/", "/relations/", "/report/"))
        status, answer = await ward.answer(who, template, body, this=ward.names[room])
        assert status in ((403, 404) if hides_event else (403,)), (template, answer)
    await ward.refuses_and_keeps(who, f"POST join/{{{room}}}", {}, FORBIDDEN)


@pytest.mark.parametrize(
    ("room", "join"),
    [
        ("!nowhere:hospital.example", NOT_FOUND),
        ("!" + "x" * 43, NOT_FOUND),
        ("!nowhere:elsewhere.example", UNREACHABLE),
    ],
)
async def test_a_room_that_does_not_exist(ward: Ward, room: str, join: str) -> None:
    for template, body in OF_ROOM:
        status, answer = await ward.answer("alice", template, body, this=room)
        assert (status, answer["errcode"]) in ((403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")), (template, answer)
    for request_line in ("POST join/{this}", "POST rooms/{this}/join"):
        async with ward.tables.unchanged():
            status, answer = await ward.answer("alice", request_line, {}, this=room)
        assert f"{status} {answer['errcode']}" == join


@cases(
    ("mallory", "POST join/{room}", {}, FORBIDDEN),
    ("mallory", "POST rooms/{room}/join", {}, FORBIDDEN),
    ("mallory", "POST knock/{room}", {}, FORBIDDEN),
    ("mallory", SEND, TEXT, FORBIDDEN),
    ("mallory", "PUT rooms/{room}/state/m.room.member/{mallory}", {"membership": "join"}, FORBIDDEN),
    ("mallory", "PUT rooms/{room}/state/m.room.member/{mallory}", {"membership": "leave"}, FORBIDDEN),
    ("mallory", "POST rooms/{room}/leave", {}, FORBIDDEN),
    ("mallory", "POST rooms/{room}/unban", {"user_id": "{mallory}"}, FORBIDDEN),
    ("alice", "POST rooms/{room}/invite", {"user_id": "{mallory}"}, FORBIDDEN),
    ("alice", "PUT rooms/{room}/state/m.room.member/{mallory}", {"membership": "invite"}, FORBIDDEN),
    ("alice", "PUT rooms/{room}/state/m.room.member/{stranger}", {"membership": "join"}, FORBIDDEN),
    ("alice", "PUT rooms/{room}/state/m.room.member/{bob}", {"membership": "knock"}, FORBIDDEN),
    ("alice", "PUT rooms/{room}/state/m.room.member/{bob}", {"membership": "nonsense"}, BAD_JSON),
    ("alice", "PUT rooms/{room}/state/m.room.member/{bob}", {"membership": 1}, BAD_JSON),
    ("alice", "PUT rooms/{room}/state/m.room.member/{bob}", {"membership": ["leave"]}, BAD_JSON),
    ("alice", "PUT rooms/{room}/state/m.room.member/{bob}", {"membership": {}}, BAD_JSON),
    ("alice", "PUT rooms/{room}/state/m.room.member/{bob}", {}, BAD_JSON),
    ("alice", "PUT rooms/{room}/state/m.room.member/bob", {"membership": "leave"}, INVALID),
    ("alice", "PUT rooms/{room}/state/m.room.member", {"membership": "leave"}, INVALID),
    ("alice", "POST rooms/{room}/invite", {"user_id": "{bob}"}, FORBIDDEN),
    ("alice", "POST rooms/{room}/invite", {"user_id": "bob"}, INVALID),
    ("alice", "POST rooms/{room}/invite", {"user_id": 1}, BAD_JSON),
    ("alice", "POST rooms/{room}/invite", {}, "400 M_MISSING_PARAM"),
    ("alice", "POST rooms/{room}/invite", {"user_id": "{stranger}", "reason": ["x"]}, BAD_JSON),
    ("alice", "POST rooms/{room}/kick", {"user_id": "{stranger}"}, FORBIDDEN),
    ("alice", "POST rooms/{room}/kick", {}, "400 M_MISSING_PARAM"),
    ("alice", "POST rooms/{room}/unban", {"user_id": "{stranger}"}, "400 M_BAD_STATE"),
    ("alice", "POST rooms/{room}/forget", {}, "400 M_UNKNOWN"),
    ("stranger", "POST rooms/{room}/leave", {}, FORBIDDEN),
    ("bob", "POST rooms/{room}/kick", {"user_id": "{alice}"}, FORBIDDEN),
    ("bob", "POST rooms/{room}/ban", {"user_id": "{stranger}"}, FORBIDDEN),
    ("bob", "POST rooms/{room}/unban", {"user_id": "{mallory}"}, FORBIDDEN),
    ("bob", "POST rooms/{room}/invite", {"user_id": "{stranger}"}, FORBIDDEN),
    ("bob", "PUT rooms/{room}/state/m.room.name", {"name": "x"}, FORBIDDEN),
    ("bob", "PUT rooms/{room}/state/org.example.state/{alice}", {}, FORBIDDEN),
    ("bob", "PUT rooms/{room}/state/m.room.create", {}, FORBIDDEN),
    ("bob", "PUT rooms/{room}/redact/{message}/1", {}, FORBIDDEN),
    ("bob", "PUT rooms/{room}/send/m.room.redaction/1", {"redacts": "{message}"}, FORBIDDEN),
    ("alice", "PUT rooms/{room}/state/m.room.create", {"room_version": "12"}, FORBIDDEN),
    ("alice", "PUT rooms/{room}/state/org.example.state/{bob}", {}, FORBIDDEN),
    ("alice", "PUT rooms/{room}/redact/{message5}/1", {}, NOT_FOUND),
    ("alice", "PUT rooms/{room}/redact/nonsense/1", {}, INVALID),
    ("alice", "PUT rooms/{room}/send/m.room.redaction/1", {}, BAD_JSON),
    ("alice", "PUT rooms/{room}/send/m.room.redaction/1", {"redacts": 1}, BAD_JSON),
    ("alice", SEND, {"body": "hello"}, BAD_JSON),
    ("alice", SEND, {"msgtype": "m.text", "body": 1}, BAD_JSON),
    ("alice", "PUT rooms/nonsense/send/m.room.message/1", TEXT, INVALID),
    ("alice", "PUT rooms/{alice}/send/m.room.message/1", TEXT, INVALID),
    ("alice", "POST join/nonsense", {}, INVALID),
    ("alice", "POST join/%23nothing:hospital.example", {}, NOT_FOUND),
    ("alice", "POST join/%23nothing:elsewhere.example", {}, UNREACHABLE),
    ("alice", "GET rooms/{room}/state/org.example.nothing", None, NOT_FOUND),
    ("alice", "GET rooms/{room}/event/{message5}", None, NOT_FOUND),
    ("alice", "GET rooms/{room}/event/nonsense", None, INVALID),
    ("alice", "GET rooms/{room}/context/{message5}", None, NOT_FOUND),
)
async def test_memberships_and_events(ward: Ward, who: str, request_line: str, body: Any, expected: str) -> None:
    await ward.refuses_and_keeps(who, request_line, body, expected)


@pytest.mark.parametrize("room", ["v9", "v10", "v11", "v12"])
@pytest.mark.parametrize(
    ("who", "change", "expected"),
    [
        ("alice", {"users": {"{bob}": "50"}}, BAD_JSON),
        ("alice", {"ban": "50"}, BAD_JSON),
        ("alice", {"events": {"m.room.name": "50"}}, BAD_JSON),
        ("alice", {"notifications": {"room": "50"}}, BAD_JSON),
        ("alice", {"users_default": 0.5}, BAD_JSON),
        ("alice", {"state_default": True}, BAD_JSON),
        ("alice", {"kick": None}, BAD_JSON),
        ("alice", {"redact": 2**53}, BAD_JSON),
        ("alice", {"users": []}, BAD_JSON),
        ("alice", {"events": "x"}, BAD_JSON),
        ("alice", {"users": {"bob": 50}}, FORBIDDEN),
        ("bob", {"users": {"{bob}": 100}}, FORBIDDEN),
        ("bob", {"users_default": 100}, FORBIDDEN),
        ("half", {"users": {"{half}": 60}}, FORBIDDEN),
        ("half", {"users": {"{stranger}": 51}}, FORBIDDEN),
        ("half", {"ban": 51}, FORBIDDEN),
        ("half", {"events": {"m.room.name": 99}}, FORBIDDEN),
        ("half", {"events": {"m.room.server_acl": 50}}, FORBIDDEN),
    ],
)
async def test_power_levels(ward: Ward, room: str, who: str, change: dict[str, Any], expected: str) -> None:
    """`half` has 50, which is enough for changing the power levels here."""
    levels = {"events": {"m.room.power_levels": 50, "m.room.server_acl": 100}, "users": {"{half}": 50}}
    if room != "v12":
        levels["users"]["{alice}"] = 100
    content = {
        key: {**levels.get(key, {}), **change[key]} if isinstance(change.get(key), dict) else change.get(key, level)
        for key, level in {**levels, **change}.items()
    }
    request_line = f"PUT rooms/{{{room}}}/state/m.room.power_levels"
    await ward.refuses_and_keeps(who, request_line, content, expected)


@cases(
    ("alice", POWER, {"users": {"{alice}": 100}}, FORBIDDEN),
    ("alice", POWER, {"users": {"{alice}": 0}}, FORBIDDEN),
    ("alice", CREATE, {"power_level_content_override": {"users": {"{alice}": 100}}}, "400 M_INVALID_ROOM_STATE"),
    (
        "alice",
        CREATE,
        {
            "creation_content": {"additional_creators": ["{bob}"]},
            "power_level_content_override": {"users": {"{bob}": 100}},
        },
        "400 M_INVALID_ROOM_STATE",
    ),
)
async def test_creators_are_not_named_in_power_levels_since_v12(
    ward: Ward, who: str, request_line: str, body: Any, expected: str
) -> None:
    await ward.refuses_and_keeps(who, request_line, body, expected)


@cases(
    ("alice", CREATE, {"room_version": "99"}, "400 M_UNSUPPORTED_ROOM_VERSION"),
    ("alice", CREATE, {"room_version": ""}, "400 M_UNSUPPORTED_ROOM_VERSION"),
    ("alice", CREATE, {"room_version": "org.example.1"}, "400 M_UNSUPPORTED_ROOM_VERSION"),
    ("alice", CREATE, {"room_version": 12}, BAD_JSON),
    ("alice", CREATE, {"preset": "party"}, INVALID),
    ("alice", CREATE, {"preset": 1}, INVALID),
    ("alice", CREATE, {"visibility": "secret"}, INVALID),
    ("alice", CREATE, {"name": 1}, BAD_JSON),
    ("alice", CREATE, {"topic": ["x"]}, BAD_JSON),
    ("alice", CREATE, {"invite": "{bob}"}, BAD_JSON),
    ("alice", CREATE, {"invite": ["bob"]}, INVALID),
    ("alice", CREATE, {"invite": [1]}, BAD_JSON),
    ("alice", CREATE, {"invite": [f"@user{number}:hospital.example" for number in range(200)]}, INVALID),
    ("alice", CREATE, {"is_direct": "yes"}, BAD_JSON),
    ("alice", CREATE, {"creation_content": []}, BAD_JSON),
    ("alice", CREATE, {"creation_content": {"additional_creators": ["bob"]}}, BAD_JSON),
    ("alice", CREATE, {"creation_content": {"additional_creators": "{bob}"}}, BAD_JSON),
    ("alice", CREATE, {"creation_content": {"n": 1.5}}, BAD_JSON),
    ("alice", CREATE, {"initial_state": {}}, BAD_JSON),
    ("alice", CREATE, {"initial_state": ["x"]}, BAD_JSON),
    ("alice", CREATE, {"initial_state": [{"content": {}}]}, "400 M_MISSING_PARAM"),
    ("alice", CREATE, {"initial_state": [{"type": "org.example.x"}]}, "400 M_MISSING_PARAM"),
    ("alice", CREATE, {"initial_state": [{"type": 1, "content": {}}]}, BAD_JSON),
    ("alice", CREATE, {"initial_state": [{"type": "org.example.x", "content": []}]}, BAD_JSON),
    ("alice", CREATE, {"initial_state": [{"type": "org.example.x", "content": {"n": 1.5}}]}, BAD_JSON),
    ("alice", CREATE, {"initial_state": [{"type": "org.example.x", "content": {}, "state_key": 1}]}, BAD_JSON),
    ("alice", CREATE, {"initial_state": [{"type": "x" * 300, "content": {}}]}, "413 M_TOO_LARGE"),
    ("alice", CREATE, {"initial_state": [{"type": "x", "content": {"x": "y" * 65_536}}]}, "413 M_TOO_LARGE"),
    ("alice", CREATE, {"initial_state": [{"type": "x", "content": {}}] * 2_000}, INVALID),
    (
        "alice",
        CREATE,
        {"initial_state": [{"type": "m.room.create", "content": {}}]},
        "400 M_INVALID_ROOM_STATE",
    ),
    (
        "alice",
        CREATE,
        {"initial_state": [{"type": "m.room.member", "state_key": "{bob}", "content": {"membership": "join"}}]},
        "400 M_INVALID_ROOM_STATE",
    ),
    (
        "alice",
        CREATE,
        {"initial_state": [{"type": "org.example.x", "state_key": "{bob}", "content": {}}]},
        "400 M_INVALID_ROOM_STATE",
    ),
    (
        "alice",
        CREATE,
        {"initial_state": [{"type": "m.room.power_levels", "content": {"users": {"{bob}": "100"}}}]},
        BAD_JSON,
    ),
    ("alice", CREATE, {"power_level_content_override": {"ban": "50"}}, BAD_JSON),
    ("alice", CREATE, {"power_level_content_override": []}, BAD_JSON),
    ("alice", CREATE, {"power_level_content_override": {"users": {"bob": 1}}}, "400 M_INVALID_ROOM_STATE"),
    ("alice", CREATE, {"room_alias_name": "other"}, "400 M_ROOM_IN_USE"),
    ("alice", CREATE, {"room_alias_name": "a:b"}, INVALID),
    ("alice", CREATE, {"room_alias_name": "a b"}, INVALID),
    ("alice", CREATE, {"room_alias_name": "a" * 300}, INVALID),
    ("alice", CREATE, {"room_alias_name": 1}, BAD_JSON),
)
async def test_new_rooms(ward: Ward, who: str, request_line: str, body: Any, expected: str) -> None:
    await ward.refuses_and_keeps(who, request_line, body, expected)


ALIAS = "PUT rooms/{room}/state/m.room.canonical_alias"


@cases(
    ("alice", "PUT directory/room/nonsense", {"room_id": "{room}"}, INVALID),
    ("alice", "PUT directory/room/%23x:elsewhere.example", {"room_id": "{room}"}, INVALID),
    ("alice", "PUT directory/room/%23a%20b:hospital.example", {"room_id": "{room}"}, INVALID),
    ("alice", "PUT directory/room/%23" + "a" * 250 + ":hospital.example", {"room_id": "{room}"}, INVALID),
    ("alice", "PUT directory/room/%23other:hospital.example", {"room_id": "{room}"}, "409 M_UNKNOWN"),
    ("alice", "PUT directory/room/%23new:hospital.example", {}, "400 M_MISSING_PARAM"),
    ("alice", "PUT directory/room/%23new:hospital.example", {"room_id": "room"}, INVALID),
    ("alice", "PUT directory/room/%23new:hospital.example", {"room_id": 1}, BAD_JSON),
    ("bob", "DELETE directory/room/%23other:hospital.example", None, FORBIDDEN),
    ("alice", "DELETE directory/room/%23nothing:hospital.example", None, NOT_FOUND),
    ("alice", "GET directory/room/%23nothing:hospital.example", None, NOT_FOUND),
    ("alice", "GET directory/room/nonsense", None, INVALID),
    ("alice", ALIAS, {"alias": "#nothing:hospital.example"}, "400 M_BAD_ALIAS"),
    ("alice", ALIAS, {"alias": "#other:hospital.example"}, "400 M_BAD_ALIAS"),
    ("alice", ALIAS, {"alt_aliases": ["#other:hospital.example"]}, "400 M_BAD_ALIAS"),
    ("alice", ALIAS, {"alias": "nonsense"}, INVALID),
    ("alice", ALIAS, {"alt_aliases": ["nonsense"]}, INVALID),
    ("bob", "PUT directory/list/room/{room}", {"visibility": "public"}, FORBIDDEN),
    ("alice", "PUT directory/list/room/{room}", {"visibility": "secret"}, INVALID),
)
async def test_aliases_and_the_directory(ward: Ward, who: str, request_line: str, body: Any, expected: str) -> None:
    await ward.refuses_and_keeps(who, request_line, body, expected)


PAGE = "GET rooms/{room}/messages"
DEEP = quote('{"types":' + "[" * 1_500 + "]" * 1_500 + "}")


@cases(
    ("alice", PAGE, None, "400 M_MISSING_PARAM"),
    ("alice", f"{PAGE}?dir=x", None, INVALID),
    ("alice", f"{PAGE}?dir=b&from=nonsense", None, INVALID),
    ("alice", f"{PAGE}?dir=b&from=t1_2_3", None, INVALID),
    ("alice", f"{PAGE}?dir=b&from=t99999999999999999999_0", None, INVALID),
    ("alice", f"{PAGE}?dir=b&to=nonsense", None, INVALID),
    ("alice", f"{PAGE}?dir=b&limit=-1", None, INVALID),
    ("alice", f"{PAGE}?dir=b&limit=many", None, INVALID),
    ("alice", f"{PAGE}?dir=b&limit={'9' * 30}", None, INVALID),
    ("alice", f"{PAGE}?dir=b&filter=nonsense", None, INVALID),
    ("alice", f"{PAGE}?dir=b&filter=[]", None, INVALID),
    ("alice", f"{PAGE}?dir=b&filter={DEEP}", None, INVALID),
    ("alice", f"{PAGE}?dir=b&filter=" + quote('{"types":"m.room.message"}'), None, BAD_JSON),
    ("alice", "GET rooms/{room}/members?at=nonsense", None, INVALID),
    ("alice", "GET rooms/{room}/members?membership=nonsense", None, INVALID),
    ("alice", "GET rooms/{room}/context/{message}?limit=-1", None, INVALID),
    ("alice", "GET rooms/{room}/state/m.room.name?format=nonsense", None, INVALID),
    ("alice", "GET sync?since=nonsense", None, INVALID),
    ("alice", "GET sync?since=t1_0", None, INVALID),
    ("alice", "GET sync?since=s-1", None, INVALID),
    ("alice", f"GET sync?since=s{'9' * 30}", None, INVALID),
    ("alice", "GET sync?timeout=soon", None, INVALID),
    ("alice", "GET sync?full_state=maybe", None, INVALID),
    ("alice", "GET sync?set_presence=nonsense", None, INVALID),
    ("alice", "GET sync?filter=nonsense", None, INVALID),
    ("alice", "GET sync?filter=999", None, INVALID),
    ("alice", "GET sync?filter=" + quote('{"room":'), None, BAD_JSON),
    ("alice", "GET sync?filter=" + quote('{"room":{"timeline":{"limit":"x"}}}'), None, BAD_JSON),
    ("alice", f"GET sync?filter={DEEP}", None, BAD_JSON),
    ("alice", "POST user/{alice}/filter", {"room": []}, BAD_JSON),
    ("alice", "POST user/{alice}/filter", {"room": {"timeline": {"limit": "10"}}}, BAD_JSON),
    ("alice", "POST user/{alice}/filter", {"room": {"rooms": "{room}"}}, BAD_JSON),
    ("alice", "POST user/{alice}/filter", {"event_format": "nonsense"}, INVALID),
    ("alice", "POST user/{bob}/filter", {}, FORBIDDEN),
    ("alice", "GET user/{alice}/filter/999", None, NOT_FOUND),
    ("alice", "GET user/{bob}/filter/1", None, FORBIDDEN),
    ("alice", "PUT user/{bob}/account_data/org.example.x", {}, FORBIDDEN),
    ("alice", "PUT user/{alice}/account_data/m.push_rules", {}, "405 M_BAD_JSON"),
    ("alice", "PUT profile/{bob}/displayname", {"displayname": "x"}, FORBIDDEN),
    ("alice", "PUT profile/{alice}/displayname", {"displayname": 1}, INVALID),
)
async def test_tokens_filters_and_the_data_of_others(
    ward: Ward, who: str, request_line: str, body: Any, expected: str
) -> None:
    await ward.refuses_and_keeps(who, request_line, body, expected)
