"""Every endpoint, with values in path, query and body that nobody asked for: an answer, never a breakdown.

Whatever a client sends, it gets a success or the standard error response; `500` would be a bug, and `502` says that
another server could not be reached.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.people import Person
from tests.scenarios.ward import Ward
from tim_server.admin_api import routes as admin_routes
from tim_server.client_api import routes as client_routes
from tim_server.federation_api import routes as federation_routes
from tim_server.web.route import Route

ROUTES = (*client_routes.ROUTES, *admin_routes.ROUTES, *federation_routes.ROUTES)

STRINGS = [
    "",
    " ",
    "x",
    "x" * 300,
    "x" * 6_000,
    "-1",
    "0",
    "9" * 30,
    "true",
    "null",
    "@:",
    "@a:b",
    "!a",
    "#a:b",
    "$a",
    "@a:b:c:d",
    "@A\u0301:hospital.example",
    "@a:[::1",
    "@a:hospital.example:99999",
    "{}",
    "[]",
    '{"room":{"rooms":[null]}}',
    '{"limit":-1}',
    "..",
    "../../etc/passwd",
    "%",
    "%2e%2e",
    "💊",
    "\u202e",
    "a\nb",
    "'; DROP TABLE events; --",
    "s0",
    "s999999999999999999",
    "t0_0",
    "t999999999999999999_-999999999",
]
NOT_STRINGS: list[Any] = [
    None,
    True,
    0,
    -1,
    2**31,
    2**53,
    2**63,
    10**40,
    1.5,
    [],
    [None],
    ["x", 1],
    {},
    {"": None},
    {"type": 1},
    {"type": "m.login.password", "session": "x", "identifier": {"type": "m.id.user", "user": 1}, "password": []},
    {"type": "m.login.dummy", "session": 1},
    {"users": {"": 1}},
    {"a": {"b": {"c": [[[[1.5]]]]}}},
    [{"type": "m.room.power_levels", "content": {"users": 1}}],
    [{"type": "", "content": {}, "state_key": ""}],
]


def known_values(route: Route, names: dict[str, str]) -> dict[str, str]:
    """A good value for each parameter of the path."""
    known = {
        "roomId": names["room"],
        "roomIdOrAlias": names["room"],
        "userId": names["alice"],
        "eventId": names["message"],
        "roomAlias": "#x:hospital.example",
        "kind": "override",
        "receiptType": "m.read",
        "ruleId": ".m.rule.master",
    }
    return {name: known.get(name, "org.example.x") for name in route.parameters}


def known_body(route: Route, names: dict[str, str]) -> dict[str, Any]:
    """A good value for keys that most endpoints ask for."""
    known = {
        "user_id": names["bob"],
        "room_id": names["room"],
        "type": "m.login.password",
        "password": "a password",
        "new_password": "a password",
        "username": "x",
        "nonce": "x",
        "mac": "x",
        "refresh_token": "x",
        "typing": True,
        "presence": "online",
        "new_version": "12",
        "search_term": "x",
    }
    return {key: known[key] for key in route.reader.body_keys if key in known}


async def attempt(person: Person, route: Route, path: str, body: dict[str, Any], **query: str) -> None:
    """Send it; the answer must be a success or the standard error response."""
    url = path + ("?" if query else "") + "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    raw = None if route.method == "GET" else json.dumps(body)
    status, answer = await person.request(route.method, url, raw)
    assert status < 500 or status == 502, (route.method, url, raw, answer)
    if status >= 400:
        assert "flows" in answer or isinstance(answer["errcode"], str), (url, raw, answer)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_an_endpoint_answers_whatever_it_is_sent(ward: Ward, route: Route) -> None:
    alice = await ward.hospital.person()
    room_id = await alice.create_room()
    message = await alice.say(room_id, "hello")
    names = {"room": room_id, "message": message, "alice": alice.user_id, "bob": ward.names["bob"]}
    values = known_values(route, names)
    body = {} if route.method == "GET" else known_body(route, names)
    for name in route.parameters:
        for value in STRINGS:
            await attempt(alice, route, path_of(route, values | {name: value}), body)
    for field in route.reader.query_fields:
        for value in STRINGS:
            if field.name != "timeout":
                await attempt(alice, route, path_of(route, values), body, **{field.name: value})
    for strange in strange_bodies(route, body):
        await attempt(alice, route, path_of(route, values), strange)


def path_of(route: Route, values: dict[str, str]) -> str:
    """The path with these values."""
    return route.path.format(**{name: quote(value, safe="") for name, value in values.items()})


def strange_bodies(route: Route, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Bodies with one strange value each."""
    for key in route.reader.body_keys:
        for value in (*STRINGS, *NOT_STRINGS):
            yield {**body, key: value}
    if route.reader.whole_body_key is not None:
        for value in NOT_STRINGS:
            yield {"displayname": value, "x": value, "room": value}
