"""Two homeservers in one process: who belongs to one sees, joins, enumerates and administers nothing of the other."""

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.people import CLIENT, PASSWORD, Person
from tests.scenarios.two_tenants import DATA_TYPE, REGISTER, ROOMS_AT_ONCE, Tenant
from tim_server.admin_api import routes as admin_routes
from tim_server.client_api import routes as client_routes
from tim_server.web.route import Auth, Route

Pair = tuple[Tenant, Tenant]

ROUTES = (*client_routes.ROUTES, *admin_routes.ROUTES)


def path_of(route: Route, theirs: Tenant) -> str:
    """The route's path, which names what is theirs wherever it can."""
    values = {
        "roomId": theirs.room_id,
        "roomIdOrAlias": theirs.alias,
        "roomAlias": theirs.alias,
        "userId": theirs.alice.user_id,
        "eventId": theirs.event_id,
        "eventType": "m.room.name",
        "stateKey": "",
        "txnId": "transaction",
        "type": DATA_TYPE,
        "filterId": theirs.filter_id,
        "kind": "override",
        "ruleId": ".m.rule.master",
        "keyName": "displayname",
        "tag": "m.favourite",
        "receiptType": "m.read",
        "deviceId": theirs.alice.device_id,
        "version": "1",
        "sessionId": "session",
        "relType": "m.thread",
        "reportId": "1",
        "destination": theirs.name,
        "serverName": theirs.name,
        "mediaId": "media",
        "deleteId": "deletion",
        "fileName": "scan.png",
    }
    return route.path.format(**{name: quote(values[name], safe="") for name in route.parameters})


def body_of(theirs: Tenant) -> dict[str, Any]:
    """A body for any route, which names what is theirs; each takes the keys that it knows."""
    identifier = {"type": "m.id.user", "user": theirs.alice.user_id}
    return {
        "type": "m.login.password",
        "identifier": identifier,
        "password": PASSWORD,
        "auth": {"type": "m.login.password", "identifier": identifier, "password": PASSWORD},
        "username": "alice",
        "new_password": "another password",
        "user_id": theirs.alice.user_id,
        "room_id": theirs.room_id,
        "invite": [theirs.alice.user_id],
        "displayname": "changed",
        "name": "changed",
        "visibility": "private",
        "refresh_token": "unknown",
        "devices": [theirs.alice.device_id],
        "device_keys": {theirs.alice.user_id: []},
        "messages": {theirs.alice.user_id: {"*": {}}},
        "reason": "spam",
        "status": "resolved",
        "search_term": theirs.alice.user_id,
        "new_version": "12",
    }


async def attempt(person: Person, route: Route, theirs: Tenant) -> tuple[int, str]:
    """Status and text of a request that names what is theirs."""
    body = None if route.method == "GET" else body_of(theirs)
    if route.path.endswith("/refresh"):
        body = {"refresh_token": theirs.alice.token}
    query = {"dir": "b", "ts": "1"} if route.path.endswith(("/messages", "/timestamp_to_event")) else {}
    status, answer = await person.request(route.method, path_of(route, theirs), body, **query)
    return status, json.dumps(answer)


async def test_a_token_is_worth_nothing_at_the_other_host(mine_and_theirs: Pair) -> None:
    mine, theirs = mine_and_theirs
    stranger = theirs.seen_as(mine.alice)
    async with mine.tables.unchanged(), theirs.tables.unchanged():
        for route in ROUTES:
            if route.auth is not Auth.NONE:
                status, text = await attempt(stranger, route, theirs)
                assert (status, json.loads(text)["errcode"]) == (401, "M_UNKNOWN_TOKEN"), route
                assert theirs.secret not in text


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_an_endpoint_of_ones_own_host_tells_and_changes_nothing_of_the_others(
    two_tenants: Pair, route: Route
) -> None:
    mine, theirs = two_tenants
    for admin in (False, True):
        visitor = await mine.person(admin=admin)
        async with theirs.tables.unchanged():
            status, text = await attempt(visitor, route, theirs)
        assert status < 500 or status == 502, text
        assert theirs.secret not in text


SEEN = [
    ("GET", "rooms/{room}/state", 403),
    ("GET", "rooms/{room}/state/m.room.name", 403),
    ("GET", "rooms/{room}/members", 403),
    ("GET", "rooms/{room}/joined_members", 403),
    ("GET", "rooms/{room}/messages?dir=b", 403),
    ("GET", "rooms/{room}/event/{event}", 404),
    ("GET", "rooms/{room}/context/{event}", 403),
    ("GET", "rooms/{room}/aliases", 403),
    ("GET", "/_matrix/client/v1/rooms/{room}/relations/{event}", 404),
    ("GET", "/_matrix/client/v1/rooms/{room}/threads", 403),
    ("GET", "/_matrix/client/v1/rooms/{room}/timestamp_to_event?ts=1&dir=f", 403),
    ("POST", "rooms/{room}/report/{event}", 404),
    ("GET", "directory/room/{alias}", 502),
    ("GET", "directory/list/room/{room}", 404),
    ("GET", "/_matrix/client/v1/room_summary/{room}", 404),
    ("GET", "/_matrix/client/v1/room_summary/{alias}", 502),
    ("GET", "/_matrix/client/v1/rooms/{room}/hierarchy", 403),
    ("POST", "rooms/{room}/upgrade", 404),
    ("GET", "profile/{user}", 502),
    ("GET", "profile/{user}/displayname", 502),
    ("GET", "user/{user}/account_data/org.example.notes", 403),
    ("GET", "user/{user}/rooms/{room}/account_data/org.example.notes", 403),
    ("GET", "user/{user}/filter/{filter}", 403),
    ("GET", "/_matrix/client/v1/media/download/{server}/media", 502),
    ("POST", "join/{room}", 404),
    ("POST", "join/{alias}", 502),
    ("POST", "rooms/{room}/join", 404),
    ("POST", "rooms/{room}/invite", 404),
    ("POST", "rooms/{room}/kick", 404),
    ("POST", "rooms/{room}/ban", 404),
    ("POST", "rooms/{room}/leave", 404),
    ("PUT", "rooms/{room}/send/org.example.type/1", 404),
    ("PUT", "rooms/{room}/state/m.room.topic", 404),
    ("PUT", "rooms/{room}/redact/{event}/1", 404),
    ("PUT", "directory/room/{alias}", 400),
    ("DELETE", "directory/room/{alias}", 404),
    ("PUT", "directory/list/room/{room}", 404),
    ("PUT", "profile/{user}/displayname", 403),
    ("PUT", "user/{user}/account_data/org.example.notes", 403),
]


@pytest.mark.parametrize(("method", "template", "status"), SEEN)
async def test_what_is_theirs_does_not_exist_here(
    mine_and_theirs: Pair, method: str, template: str, status: int
) -> None:
    mine, theirs = mine_and_theirs
    path = template.format(
        room=quote(theirs.room_id),
        alias=quote(theirs.alias),
        event=quote(theirs.event_id),
        user=theirs.alice.user_id,
        filter=theirs.filter_id,
        server=theirs.name,
    )
    body = {
        "user_id": mine.alice.user_id,
        "room_id": mine.room_id,
        "topic": "x",
        "displayname": "x",
        "new_version": "12",
    }
    answer = await mine.alice.expect(status, method, path, None if method == "GET" else body)
    assert theirs.secret not in json.dumps(answer)


async def test_nothing_of_theirs_is_listed(mine_and_theirs: Pair) -> None:
    mine, theirs = mine_and_theirs
    assert (await mine.alice.get("joined_rooms"))["joined_rooms"] == [mine.room_id]
    assert (await mine.alice.post("user_directory/search", {"search_term": theirs.alice.user_id}))["results"] == []
    assert theirs.room_id not in json.dumps(await mine.alice.get("publicRooms"))
    first = await mine.alice.get("sync")
    assert set(first["rooms"]["join"]) == {mine.room_id}
    theirs_now = (await theirs.alice.get("sync"))["next_batch"]
    later = await mine.alice.get("sync", since=theirs_now, full_state="true")
    for answer in (first, later):
        assert theirs.secret not in json.dumps(answer)
        assert theirs.name not in json.dumps(answer)


async def test_the_same_local_names_mean_different_things(two_tenants: Pair) -> None:
    for tenant in two_tenants:
        status, answer = await tenant.anonymous("GET", f"directory/room/{quote(tenant.alias)}")
        assert (status, answer["room_id"]) == (200, tenant.room_id)
        assert (await tenant.alice.get("account/whoami"))["user_id"] == f"@alice:{tenant.name}"


async def test_a_user_of_one_cannot_log_in_at_the_other(mine_and_theirs: Pair) -> None:
    mine, theirs = mine_and_theirs
    visitor = await mine.person()
    for user in (visitor.user_id, visitor.user_id[1:].partition(":")[0]):
        body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": user}, "password": PASSWORD}
        status, answer = await theirs.anonymous("POST", "login", body)
        assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")


async def test_refresh_tokens_are_each_tenants_own(mine_and_theirs: Pair) -> None:
    mine, theirs = mine_and_theirs
    visitor = await mine.person("refreshing")
    login = {"type": "m.login.password", "password": PASSWORD, "refresh_token": True}
    answer = await visitor.post("login", login | {"identifier": {"type": "m.id.user", "user": visitor.user_id}})
    body = {"refresh_token": answer["refresh_token"]}
    status, refused = await theirs.anonymous("POST", "refresh", body)
    assert (status, refused["errcode"]) == (401, "M_UNKNOWN_TOKEN")
    assert (await mine.anonymous("POST", "refresh", body))[0] == 200


async def test_shared_secrets_and_their_nonces_are_each_tenants_own(mine_and_theirs: Pair) -> None:
    mine, theirs = mine_and_theirs
    async with theirs.tables.unchanged():
        nonce = (await theirs.anonymous("GET", REGISTER))[1]["nonce"]
        assert (await theirs.register(nonce, "intruder", mine.shared_secret, admin=True))[0] == 403
        foreign_nonce = (await mine.anonymous("GET", REGISTER))[1]["nonce"]
        assert (await theirs.register(foreign_nonce, "intruder", theirs.shared_secret, admin=True))[0] == 400


async def test_registration_tokens_are_each_tenants_own(mine_and_theirs: Pair) -> None:
    mine, theirs = mine_and_theirs
    validity = f"/_matrix/client/v1/register/m.login.registration_token/validity?token={mine.registration_token}"
    assert (await mine.anonymous("GET", validity))[1] == {"valid": True}
    assert (await theirs.anonymous("GET", validity))[1] == {"valid": False}
    account = {"username": "intruder", "password": PASSWORD}
    _, begun = await theirs.anonymous("POST", "register", account)
    stage = {"type": "m.login.registration_token", "token": mine.registration_token, "session": begun["session"]}
    status, answer = await theirs.anonymous("POST", "register", account | {"auth": stage})
    assert (status, answer.get("completed", []), "user_id" in answer) == (401, [], False)
    assert (await theirs.anonymous("GET", "register/available?username=intruder"))[0] == 200


async def test_a_session_of_interactive_authentication_is_unknown_at_the_other(mine_and_theirs: Pair) -> None:
    mine, theirs = mine_and_theirs
    account = {"username": "somebody", "password": PASSWORD}
    _, begun = await mine.anonymous("POST", "register", account)
    stage = {"type": "m.login.registration_token", "token": theirs.registration_token, "session": begun["session"]}
    status, answer = await theirs.anonymous("POST", "register", account | {"auth": stage})
    assert status in (400, 401, 403), answer
    assert "user_id" not in answer


async def test_limits_are_each_tenants_own(two_tenants: Pair) -> None:
    north, south = two_tenants
    statuses = {}
    for person in (await north.person(), await south.person(), await south.person("exempt")):
        answers = [await person.request("POST", "createRoom", {}) for _ in range(ROOMS_AT_ONCE + 2)]
        statuses[person.user_id] = [status for status, _ in answers]
    unlimited = [200] * (ROOMS_AT_ONCE + 2)
    assert list(statuses.values()) == [unlimited, [200] * ROOMS_AT_ONCE + [429] * 2, unlimited]


async def test_compatibility_switches_are_each_tenants_own(two_tenants: Pair) -> None:
    north, south = two_tenants
    for tenant, by_query, by_old_path in ((north, 401, 404), (south, 200, 200)):
        path = f"account/whoami?access_token={tenant.alice.token}"
        assert (await tenant.anonymous("GET", path))[0] == by_query
        assert (await tenant.alice.request("GET", "/_matrix/client/r0/account/whoami"))[0] == by_old_path


UNKNOWN_HOSTS = [
    "east.example",
    "north.example.east.example",
    "xnorth.example",
    "localhost",
    "127.0.0.1",
    "",
    "north.example:south.example",
    "north.example/",
    "north.example@east.example",
]


@pytest.mark.parametrize("host", UNKNOWN_HOSTS)
async def test_an_unknown_host_is_refused(two_tenants: Pair, host: str) -> None:
    north, _ = two_tenants
    for path in ("/_matrix/client/versions", "/.well-known/matrix/client", f"{CLIENT}/account/whoami", REGISTER):
        headers = {"Host": host, "Authorization": f"Bearer {north.alice.token}", "X-Forwarded-Host": north.name}
        async with north.session.get(path, headers=headers) as response:
            assert (response.status, (await response.json())["errcode"]) == (404, "M_UNRECOGNIZED")


@pytest.mark.parametrize("host", ["NORTH.example", "north.example:8448", "North.Example.", "north.example:443"])
async def test_a_host_may_be_written_in_several_ways(two_tenants: Pair, host: str) -> None:
    north, _ = two_tenants
    headers = {"Host": host, "Authorization": f"Bearer {north.alice.token}"}
    async with north.session.get(f"{CLIENT}/account/whoami", headers=headers) as response:
        assert (await response.json())["user_id"] == north.alice.user_id


@pytest.mark.parametrize(
    "head",
    [
        "GET {whoami} HTTP/1.1\r\nHost: {theirs}\r\nHost: {mine}\r\n",
        "GET {whoami} HTTP/1.1\r\nHost: {mine}\r\nHost: {theirs}\r\n",
        "GET http://{mine}{whoami} HTTP/1.1\r\nHost: {theirs}\r\n",
        "GET {whoami} HTTP/1.0\r\n",
        "GET {whoami} HTTP/1.1\r\n",
    ],
)
async def test_a_request_that_names_two_hosts_or_none_is_refused(two_tenants: Pair, head: str) -> None:
    mine, theirs = two_tenants
    request = head.format(mine=mine.name, theirs=theirs.name, whoami=f"{CLIENT}/account/whoami")
    url = mine.session._base_url
    assert url is not None
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(f"{request}Authorization: Bearer {mine.alice.token}\r\nConnection: close\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    assert int(answer.split(" ")[1]) in (400, 401, 404)
    assert "user_id" not in answer
