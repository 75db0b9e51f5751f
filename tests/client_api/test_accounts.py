"""Accounts over real HTTP: what clients see of registration, login, tokens and passwords."""

from typing import Any

import pytest

from tests.account_server import AccountServer, ServeAccounts
from tests.account_services import PASSWORD, SECRET, Policies, shared_secret_mac
from tim_server.client_api import refresh
from tim_server.services.accounts.policy import AttemptPolicy, RegistrationPolicy
from tim_server.services.discovery import WellKnown
from tim_server.storage.audit_log import COMMAND_LINE

V3 = "/_matrix/client/v3"
DUMMY = {"type": "m.login.dummy"}


def password_login(user: str, password: str = PASSWORD, **fields: Any) -> dict[str, Any]:
    """The body of a login."""
    identifier = {"type": "m.id.user", "user": user}
    return {"type": "m.login.password", "identifier": identifier, "password": password, **fields}


async def test_versions_are_the_same_with_and_without_a_token(account_server: AccountServer) -> None:
    body = await account_server.expect(200, "GET", "/_matrix/client/versions")
    assert body["versions"] == [f"v1.{minor}" for minor in range(1, 19)]
    assert all(body["unstable_features"].values())
    assert await account_server.expect(200, "GET", "/_matrix/client/versions", token="nonsense") == body


async def test_registration_login_and_logout(account_server: AccountServer) -> None:
    body = await account_server.expect(401, "POST", f"{V3}/register", json={})
    assert body["flows"] == [{"stages": ["m.login.dummy"]}]
    request = {
        "username": "Anna",
        "password": PASSWORD,
        "device_id": "PHONE",
        "refresh_token": True,
        "auth": {**DUMMY, "session": body["session"]},
    }
    body = await account_server.expect(200, "POST", f"{V3}/register", json=request)
    assert (body["user_id"], body["device_id"], body["home_server"]) == (
        "@anna:hospital.example",
        "PHONE",
        "hospital.example",
    )
    assert body["expires_in_ms"] == 300_000
    owner = await account_server.expect(200, "GET", f"{V3}/account/whoami", token=body["access_token"])
    assert owner == {"user_id": "@anna:hospital.example", "device_id": "PHONE", "is_guest": False}
    again = await account_server.expect(200, "POST", f"{V3}/refresh", json={"refresh_token": body["refresh_token"]})
    assert await account_server.expect(200, "GET", f"{V3}/account/whoami", token=again["access_token"]) == owner
    await account_server.expect_error(
        401, "M_UNKNOWN_TOKEN", "POST", f"{V3}/refresh", json={"refresh_token": body["refresh_token"]}
    )
    assert await account_server.expect(200, "POST", f"{V3}/logout", token=again["access_token"]) == {}
    await account_server.expect_error(
        401, "M_UNKNOWN_TOKEN", "GET", f"{V3}/account/whoami", token=again["access_token"]
    )


async def test_registration_without_a_session_in_one_request(account_server: AccountServer) -> None:
    request = {"username": "one", "password": PASSWORD, "auth": DUMMY, "inhibit_login": True}
    body = await account_server.expect(200, "POST", f"{V3}/register", json=request)
    assert body == {"user_id": "@one:hospital.example", "home_server": "hospital.example"}


@pytest.mark.parametrize("query", ["", "?kind=user"])
async def test_closed_registration(serve_accounts: ServeAccounts, query: str) -> None:
    server = await serve_accounts(Policies(registration=RegistrationPolicy()))
    await server.expect_error(403, "M_FORBIDDEN", "POST", f"{V3}/register{query}", json={})
    await server.expect_error(403, "M_FORBIDDEN", "GET", f"{V3}/register/available?username=anna")
    validity = "/_matrix/client/v1/register/m.login.registration_token/validity?token=x"
    await server.expect_error(403, "M_FORBIDDEN", "GET", validity)


async def test_guests_are_refused(account_server: AccountServer) -> None:
    await account_server.expect_error(403, "M_GUEST_ACCESS_FORBIDDEN", "POST", f"{V3}/register?kind=guest", json={})
    await account_server.expect_error(400, "M_INVALID_PARAM", "POST", f"{V3}/register?kind=robot", json={})


async def test_guests_have_an_account_without_a_name_or_a_password(serve_accounts: ServeAccounts) -> None:
    server = await serve_accounts(Policies(registration=RegistrationPolicy(guests_allowed=True)))
    request = {"username": "anna", "password": PASSWORD, "device_id": "MINE", "inhibit_login": True}
    body = await server.expect(200, "POST", f"{V3}/register?kind=guest", json=request)
    assert "anna" not in body["user_id"]
    assert body["device_id"] != "MINE"
    owner = await server.expect(200, "GET", f"{V3}/account/whoami", token=body["access_token"])
    assert owner == {"user_id": body["user_id"], "device_id": body["device_id"], "is_guest": True}
    await server.expect_error(
        403, "M_GUEST_ACCESS_FORBIDDEN", "POST", f"{V3}/account/password", token=body["access_token"], json={}
    )
    await server.expect_error(403, "M_FORBIDDEN", "POST", f"{V3}/register", json={})


async def test_a_guest_becomes_an_ordinary_user(serve_accounts: ServeAccounts) -> None:
    server = await serve_accounts(Policies(registration=RegistrationPolicy(enabled=True, guests_allowed=True)))
    one, other = [await server.expect(200, "POST", f"{V3}/register?kind=guest", json={}) for _ in range(2)]
    name = one["user_id"][1:].partition(":")[0]
    request = {"username": name, "password": PASSWORD, "auth": DUMMY}
    for token, errcode in ((other["access_token"], "M_FORBIDDEN"), (None, "M_USER_IN_USE")):
        asked = {**request, "guest_access_token": token}
        status = 403 if errcode == "M_FORBIDDEN" else 400
        await server.expect_error(status, errcode, "POST", f"{V3}/register", json=asked)
    body = await server.expect(
        200, "POST", f"{V3}/register", json={**request, "guest_access_token": one["access_token"]}
    )
    assert body["user_id"] == one["user_id"]
    for token in (one["access_token"], body["access_token"]):
        owner = await server.expect(200, "GET", f"{V3}/account/whoami", token=token)
        assert (owner["user_id"], owner["is_guest"]) == (one["user_id"], False)
    await server.expect(200, "POST", f"{V3}/login", json=password_login(name))
    asked = {**request, "guest_access_token": one["access_token"]}
    await server.expect_error(403, "M_FORBIDDEN", "POST", f"{V3}/register", json=asked)


async def test_availability(account_server: AccountServer) -> None:
    path = f"{V3}/register/available"
    assert await account_server.expect(200, "GET", f"{path}?username=free") == {"available": True}
    await account_server.services.make_user("taken")
    await account_server.expect_error(400, "M_USER_IN_USE", "GET", f"{path}?username=Taken")
    await account_server.expect_error(400, "M_INVALID_USERNAME", "GET", f"{path}?username=a%20b")
    await account_server.expect_error(400, "M_MISSING_PARAM", "GET", path)


async def test_registration_tokens(serve_accounts: ServeAccounts) -> None:
    server = await serve_accounts(Policies(registration=RegistrationPolicy(enabled=True, requires_token=True)))
    await server.services.registration_tokens.create("ward-3", uses_allowed=1, actor=COMMAND_LINE)
    validity = "/_matrix/client/v1/register/m.login.registration_token/validity?token="
    assert await server.expect(200, "GET", f"{validity}ward-3") == {"valid": True}
    assert await server.expect(200, "GET", f"{validity}unknown") == {"valid": False}
    account = {"username": "tok", "password": PASSWORD}
    auth = {"type": "m.login.registration_token", "token": "ward-3"}
    body = await server.expect(401, "POST", f"{V3}/register", json={**account, "auth": auth})
    assert body["completed"] == ["m.login.registration_token"]
    assert "errcode" not in body
    await server.expect(200, "POST", f"{V3}/register", json={**account, "auth": {**DUMMY, "session": body["session"]}})
    assert await server.expect(200, "GET", f"{validity}ward-3") == {"valid": False}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("register/email", {"email": "a@b.example"}),
        ("account/password/email", {"email": "a@b.example"}),
        ("register/msisdn", {"country": "DE", "phone_number": "030"}),
        ("account/password/msisdn", {"country": "DE", "phone_number": "030"}),
    ],
)
async def test_third_party_identifiers_are_denied(
    account_server: AccountServer, path: str, body: dict[str, str]
) -> None:
    request = {"client_secret": "monkeys", "send_attempt": 1, **body}
    await account_server.expect_error(403, "M_THREEPID_DENIED", "POST", f"{V3}/{path}/requestToken", json=request)
    await account_server.expect_error(400, "M_MISSING_PARAM", "POST", f"{V3}/{path}/requestToken", json=body)


async def test_login_flows(account_server: AccountServer) -> None:
    body = await account_server.expect(200, "GET", f"{V3}/login")
    assert body == {"flows": [{"type": "m.login.password"}]}


@pytest.mark.parametrize(
    ("body", "status", "errcode"),
    [
        (password_login("bernd", "wrong"), 403, "M_FORBIDDEN"),
        (password_login("nobody"), 403, "M_FORBIDDEN"),
        ({"type": "m.login.password", "user": "bernd"}, 400, "M_MISSING_PARAM"),
        ({"type": "m.login.password", "password": PASSWORD}, 400, "M_MISSING_PARAM"),
        ({"type": "m.login.password", "password": 1, "user": "bernd"}, 400, "M_BAD_JSON"),
        ({"type": "m.login.token", "token": "x"}, 400, "M_UNKNOWN"),
        ({"type": "m.login.application_service"}, 400, "M_UNKNOWN"),
        ({}, 400, "M_MISSING_PARAM"),
        (
            {"type": "m.login.password", "password": "x", "identifier": {"type": "m.id.phone", "phone": "1"}},
            403,
            "M_FORBIDDEN",
        ),
        ({"type": "m.login.password", "password": "x", "medium": "email", "address": "a@b"}, 403, "M_FORBIDDEN"),
        (password_login("bernd", device_id=7), 400, "M_BAD_JSON"),
    ],
)
async def test_logins_that_fail(account_server: AccountServer, body: Any, status: int, errcode: str) -> None:
    await account_server.expect_error(status, errcode, "POST", f"{V3}/login", json=body)


async def test_a_login_tells_where_the_server_is(serve_accounts: ServeAccounts) -> None:
    client = {"m.homeserver": {"base_url": "https://matrix.hospital.example"}}
    server = await serve_accounts(Policies(well_known=WellKnown(client=client)))
    await server.services.make_user("where")
    assert (await server.expect(200, "POST", f"{V3}/login", json=password_login("where")))["well_known"] == client


async def test_too_many_wrong_passwords(serve_accounts: ServeAccounts) -> None:
    server = await serve_accounts(Policies(attempts=AttemptPolicy(failures_max=1)))
    body = password_login("limited", "wrong")
    await server.expect_error(403, "M_FORBIDDEN", "POST", f"{V3}/login", json=body)
    error = await server.expect_error(429, "M_LIMIT_EXCEEDED", "POST", f"{V3}/login", json=body)
    assert error["retry_after_ms"] > 0


async def test_an_expired_token_says_soft_logout(account_server: AccountServer) -> None:
    await account_server.services.make_user("carla")
    body = await account_server.expect(
        200, "POST", f"{V3}/login", json=password_login("carla", refresh_token=True, device_id="D")
    )
    account_server.services.clock.advance(body["expires_in_ms"])
    error = await account_server.expect_error(
        401, "M_UNKNOWN_TOKEN", "GET", f"{V3}/account/whoami", token=body["access_token"]
    )
    assert error["soft_logout"] is True


async def test_a_locked_account_may_only_log_out(account_server: AccountServer) -> None:
    tokens = await account_server.services.make_user("doris")
    await account_server.services.account_directory.set_locked(tokens.user_id, locked=True, actor=COMMAND_LINE)
    error = await account_server.expect_error(
        401, "M_USER_LOCKED", "GET", f"{V3}/account/whoami", token=tokens.access_token
    )
    assert error["soft_logout"] is True
    assert await account_server.expect(200, "POST", f"{V3}/logout", token=tokens.access_token) == {}
    await account_server.services.account_directory.set_locked(tokens.user_id, locked=False, actor=COMMAND_LINE)
    await account_server.expect_error(401, "M_UNKNOWN_TOKEN", "GET", f"{V3}/account/whoami", token=tokens.access_token)


async def test_logging_out_everywhere(account_server: AccountServer) -> None:
    here = await account_server.services.make_user("emil")
    there = await account_server.services.log_in("emil")
    assert await account_server.expect(200, "POST", f"{V3}/logout/all", token=here.access_token) == {}
    for tokens in (here, there):
        await account_server.expect_error(
            401, "M_UNKNOWN_TOKEN", "GET", f"{V3}/account/whoami", token=tokens.access_token
        )


async def test_changing_the_password(account_server: AccountServer) -> None:
    here = await account_server.services.make_user("frieda")
    there = await account_server.services.log_in("frieda")
    request: dict[str, Any] = {"new_password": "a better password"}
    path = f"{V3}/account/password"
    body = await account_server.expect(401, "POST", path, token=here.access_token, json=request)
    assert body["flows"] == [{"stages": ["m.login.password"]}]
    wrong = password_login("frieda", "wrong", session=body["session"])
    body = await account_server.expect(401, "POST", path, token=here.access_token, json={**request, "auth": wrong})
    assert body["errcode"] == "M_FORBIDDEN"
    assert body["flows"]
    right = password_login("frieda", session=body["session"])
    assert (
        await account_server.expect(200, "POST", path, token=here.access_token, json={**request, "auth": right}) == {}
    )
    await account_server.expect(200, "POST", f"{V3}/login", json=password_login("frieda", "a better password"))
    await account_server.expect_error(401, "M_UNKNOWN_TOKEN", "GET", f"{V3}/account/whoami", token=there.access_token)
    await account_server.expect_error(401, "M_MISSING_TOKEN", "POST", path, json=request)
    await account_server.expect_error(400, "M_MISSING_PARAM", "POST", path, token=here.access_token, json={})
    weak = {"new_password": "weak"}
    await account_server.expect_error(400, "M_WEAK_PASSWORD", "POST", path, token=here.access_token, json=weak)


async def test_closing_an_account(account_server: AccountServer) -> None:
    tokens = await account_server.services.make_user("gustav")
    path = f"{V3}/account/deactivate"
    await account_server.expect(401, "POST", path, token=tokens.access_token, json={})
    request = {"auth": password_login("gustav"), "erase": True}
    body = await account_server.expect(200, "POST", path, token=tokens.access_token, json=request)
    assert body == {"id_server_unbind_result": "success"}
    await account_server.expect_error(403, "M_FORBIDDEN", "POST", f"{V3}/login", json=password_login("gustav"))


async def test_shared_secret_registration_as_tools_do_it(account_server: AccountServer) -> None:
    path = "/_synapse/admin/v1/register"
    nonce = (await account_server.expect(200, "GET", path))["nonce"]
    request = {
        "nonce": nonce,
        "username": "root",
        "displayname": "Root",
        "password": PASSWORD,
        "admin": True,
        "mac": shared_secret_mac(SECRET, nonce, "root", PASSWORD, "admin"),
    }
    body = await account_server.expect(200, "POST", path, json=request)
    assert body.keys() == {"user_id", "home_server", "access_token", "device_id"}
    profile = await account_server.expect(200, "GET", f"{V3}/profile/{body['user_id']}")
    assert profile == {"displayname": "Root"}
    await account_server.expect_error(400, "M_UNKNOWN", "POST", path, json=request)
    nonce = (await account_server.expect(200, "GET", path))["nonce"]
    again = {**request, "nonce": nonce, "mac": shared_secret_mac(SECRET, nonce, "root", PASSWORD, "admin")}
    await account_server.expect_error(400, "M_USER_IN_USE", "POST", path, json=again)
    nonce = (await account_server.expect(200, "GET", path))["nonce"]
    await account_server.expect_error(403, "M_FORBIDDEN", "POST", path, json={**request, "nonce": nonce, "mac": "00"})


async def test_well_known_documents_are_those_of_the_operator(serve_accounts: ServeAccounts) -> None:
    documents = {
        "client": {"m.homeserver": {"base_url": "https://matrix.hospital.example"}},
        "server": {"m.server": "matrix.hospital.example:443"},
        "support": {"support_page": "https://hospital.example/help"},
    }
    told = await serve_accounts(Policies(well_known=WellKnown(**documents)))
    silent = await serve_accounts(Policies())
    for name, document in documents.items():
        assert await told.expect(200, "GET", f"/.well-known/matrix/{name}") == document
        await silent.expect_error(404, "M_NOT_FOUND", "GET", f"/.well-known/matrix/{name}")


async def test_capabilities(account_server: AccountServer, account_token: str) -> None:
    body = await account_server.expect(200, "GET", f"{V3}/capabilities", token=account_token)
    capabilities = body["capabilities"]
    assert capabilities["m.room_versions"]["default"] in capabilities["m.room_versions"]["available"]
    assert set(capabilities["m.room_versions"]["available"]) == {str(version) for version in range(1, 13)}
    assert capabilities["m.change_password"] == {"enabled": True}
    await account_server.expect_error(401, "M_MISSING_TOKEN", "GET", f"{V3}/capabilities")


def test_refreshing_does_not_use_up_the_logins_of_an_address() -> None:
    """Everybody behind one address refreshes every few minutes: that must not keep others there from logging in."""
    (route,) = refresh.ROUTES
    assert route.rate_limit is None
