"""Profiles, account data and filters over real HTTP."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.account_server import AccountServer

V3 = "/_matrix/client/v3"
USER = "@user:hospital.example"
ROOM = "!ward:hospital.example"


async def test_profile_fields(account_server: AccountServer, account_token: str) -> None:
    path = f"{V3}/profile/{USER}"
    fields: dict[str, Any] = {"displayname": "Ü", "avatar_url": "mxc://a/b", "m.tz": "UTC", "org.example.x": [1, {}]}
    for field, value in fields.items():
        request = {field: value}
        assert await account_server.expect(200, "PUT", f"{path}/{field}", token=account_token, json=request) == {}
        assert await account_server.expect(200, "GET", f"{path}/{field}") == request
    assert await account_server.expect(200, "GET", path) == fields
    assert await account_server.expect(200, "DELETE", f"{path}/m.tz", token=account_token) == {}
    await account_server.expect_error(404, "M_NOT_FOUND", "GET", f"{path}/m.tz")


@pytest.mark.parametrize(
    ("field", "body", "errcode"),
    [
        ("displayname", {}, "M_MISSING_PARAM"),
        ("displayname", {"displayname": 1}, "M_INVALID_PARAM"),
        ("displayname", [], "M_BAD_JSON"),
        ("nickname", {"nickname": "x"}, "M_INVALID_PARAM"),
        ("a." + "b" * 254, {"a." + "b" * 254: 1}, "M_KEY_TOO_LARGE"),
        ("org.example.x", {"org.example.x": "x" * 65_536}, "M_PROFILE_TOO_LARGE"),
    ],
)
async def test_profile_fields_that_are_refused(
    account_server: AccountServer, account_token: str, field: str, body: Any, errcode: str
) -> None:
    await account_server.expect_error(
        400, errcode, "PUT", f"{V3}/profile/{USER}/{field}", token=account_token, json=body
    )


async def test_a_profile_of_nobody(account_server: AccountServer, account_token: str) -> None:
    nobody = f"{V3}/profile/@nobody:hospital.example"
    await account_server.expect_error(404, "M_NOT_FOUND", "GET", nobody)
    await account_server.expect_error(404, "M_NOT_FOUND", "GET", f"{nobody}/displayname")
    request = {"displayname": "x"}
    await account_server.expect_error(
        403, "M_FORBIDDEN", "PUT", f"{nobody}/displayname", token=account_token, json=request
    )
    await account_server.expect_error(400, "M_INVALID_PARAM", "GET", f"{V3}/profile/nobody")
    await account_server.expect_error(401, "M_MISSING_TOKEN", "PUT", f"{nobody}/displayname", json=request)


@pytest.mark.parametrize("scope", ["", f"/rooms/{ROOM}"])
async def test_account_data(account_server: AccountServer, account_token: str, scope: str) -> None:
    path = f"{V3}/user/{USER}{scope}/account_data"
    content = {"b": 1.5, "a": {"ü": None}}
    assert await account_server.expect(200, "PUT", f"{path}/org.example.x", token=account_token, json=content) == {}
    assert await account_server.expect(200, "GET", f"{path}/org.example.x", token=account_token) == content
    await account_server.expect_error(404, "M_NOT_FOUND", "GET", f"{path}/org.example.y", token=account_token)
    for event_type in ("m.fully_read", "m.push_rules"):
        await account_server.expect_error(
            405, "M_BAD_JSON", "PUT", f"{path}/{event_type}", token=account_token, json={}
        )
    await account_server.expect_error(400, "M_BAD_JSON", "PUT", f"{path}/x", token=account_token, json=[])
    await account_server.expect_error(400, "M_NOT_JSON", "PUT", f"{path}/x", token=account_token, data=b"{")
    others = path.replace("user:", "other:")
    await account_server.expect_error(403, "M_FORBIDDEN", "PUT", f"{others}/x", token=account_token, json={})
    await account_server.expect_error(403, "M_FORBIDDEN", "GET", f"{others}/x", token=account_token)


async def test_account_data_of_something_that_is_not_a_room(account_server: AccountServer, account_token: str) -> None:
    path = f"{V3}/user/{USER}/rooms/{quote('@not-a-room:hospital.example')}/account_data/x"
    await account_server.expect_error(400, "M_INVALID_PARAM", "GET", path, token=account_token)
    await account_server.expect_error(400, "M_INVALID_PARAM", "PUT", path, token=account_token, json={})


async def test_filters(account_server: AccountServer, account_token: str) -> None:
    path = f"{V3}/user/{USER}/filter"
    definition = {"room": {"timeline": {"limit": 10, "types": ["m.room.*"]}}, "org.example.unknown": True}
    body = await account_server.expect(200, "POST", path, token=account_token, json=definition)
    filter_id = body["filter_id"]
    assert await account_server.expect(200, "GET", f"{path}/{filter_id}", token=account_token) == definition
    await account_server.expect_error(404, "M_NOT_FOUND", "GET", f"{path}/12345", token=account_token)
    await account_server.expect_error(404, "M_NOT_FOUND", "GET", f"{path}/nonsense", token=account_token)
    await account_server.expect_error(400, "M_BAD_JSON", "POST", path, token=account_token, json={"room": []})
    others = path.replace("user:", "other:")
    await account_server.expect_error(403, "M_FORBIDDEN", "POST", others, token=account_token, json={})
