"""Registration: who may, under which names, with which authentication.

Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3register
"""

import asyncio
from typing import Any

import pytest

from tests.account_services import PASSWORD, AccountServices, Policies
from tim_server.matrix.errors import (
    Forbidden,
    InteractiveAuthRequired,
    InvalidParam,
    InvalidUsername,
    MatrixError,
    MissingParam,
    UnknownToken,
    UserInUse,
    WeakPassword,
)
from tim_server.services.accounts.open_session import SessionRequest
from tim_server.services.accounts.policy import RegistrationPolicy, UiaPolicy
from tim_server.services.accounts.register import Registered, RegistrationRequest
from tim_server.storage.audit_log import COMMAND_LINE
from tim_server.storage.store import Store

DUMMY = {"type": "m.login.dummy"}
BY_TOKEN = Policies(registration=RegistrationPolicy(enabled=True, requires_token=True))


async def register(services: AccountServices, username: str | None, **fields: Any) -> Registered:
    """Register with `PASSWORD` and a dummy stage, unless `fields` say otherwise."""
    request = {"password": PASSWORD, "session": SessionRequest(), "auth": DUMMY, **fields}
    registered: Registered = await services.registration.register(RegistrationRequest(username=username, **request))
    return registered


async def challenge(services: AccountServices, username: str | None = None, **fields: Any) -> dict[str, Any]:
    """The body of the 401 that this attempt gets."""
    with pytest.raises(InteractiveAuthRequired) as caught:
        await register(services, username, **fields)
    assert caught.value.status == 401
    return caught.value.body()


async def test_registration_is_closed_unless_opened(store: Store) -> None:
    services = AccountServices(store, Policies(registration=RegistrationPolicy()))
    for attempt in (register(services, "anna"), services.registration.check_available("anna")):
        with pytest.raises(Forbidden):
            await attempt


async def test_a_new_account_is_logged_in(account_services: AccountServices) -> None:
    registered = await register(account_services, "anna")
    assert registered.tokens is not None
    requester = await account_services.authenticator.requester(registered.tokens.access_token)
    assert requester.user_id == registered.user_id == "@anna:hospital.example"
    assert await account_services.log_in("anna")


async def test_login_can_be_inhibited(account_services: AccountServices) -> None:
    assert (await register(account_services, "bernd", session=None)).tokens is None
    assert await account_services.log_in("bernd")


async def test_names_are_put_into_lower_case(account_services: AccountServices) -> None:
    assert (await register(account_services, "Carla.K-1")).user_id == "@carla.k-1:hospital.example"


async def test_without_a_name_one_is_made_up(account_services: AccountServices) -> None:
    first, second = await register(account_services, None), await register(account_services, None)
    assert first.user_id != second.user_id


@pytest.mark.parametrize("name", ["", "@anna:hospital.example", "a b", "schwester_ä", "a\x00", "x" * 300, "a:b"])
async def test_names_outside_the_grammar_are_refused_before_authentication(
    account_services: AccountServices, name: str
) -> None:
    with pytest.raises(InvalidUsername):
        await register(account_services, name, auth=None)


async def test_a_taken_name_is_refused_before_authentication(account_services: AccountServices) -> None:
    await register(account_services, "doris")
    with pytest.raises(UserInUse):
        await register(account_services, "Doris", auth=None)
    with pytest.raises(UserInUse):
        await account_services.registration.check_available("doris")
    await account_services.registration.check_available("dorothea")


@pytest.mark.parametrize(("password", "error"), [("short", WeakPassword), ("x" * 513, InvalidParam)])
async def test_passwords_out_of_bounds_are_refused_before_authentication(
    account_services: AccountServices, password: str, error: type[MatrixError]
) -> None:
    with pytest.raises(error):
        await register(account_services, "emil", password=password, auth=None)


async def test_a_request_without_auth_never_succeeds(account_services: AccountServices) -> None:
    body = await challenge(account_services, auth=None, password=None)
    session = body["session"]
    assert body == {"flows": [{"stages": ["m.login.dummy"]}], "params": {}, "session": session, "completed": []}
    assert await register(account_services, "frieda", auth={**DUMMY, "session": body["session"]})


async def test_after_authentication_the_password_must_be_there(account_services: AccountServices) -> None:
    with pytest.raises(MissingParam):
        await register(account_services, "gustav", password=None)


async def test_of_many_at_once_one_gets_the_name(account_services: AccountServices) -> None:
    results = await asyncio.gather(*(register(account_services, "hanna") for _ in range(5)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Registered"] + ["UserInUse"] * 4


async def test_a_name_of_a_deactivated_account_is_not_given_out_again(account_services: AccountServices) -> None:
    requester = await account_services.make_requester("ida")
    auth = {"type": "m.login.password", "user": "ida", "password": PASSWORD}
    await account_services.deactivation.deactivate(requester, auth, erase=True)
    with pytest.raises(UserInUse):
        await register(account_services, "ida")


async def test_with_a_token_two_stages_follow_one_another(store: Store) -> None:
    services = AccountServices(store, BY_TOKEN)
    token = (await services.registration_tokens.create(actor=COMMAND_LINE)).token
    body = await challenge(services, auth=None)
    assert body["flows"] == [{"stages": ["m.login.registration_token", "m.login.dummy"]}]
    session = body["session"]
    auth = {"type": "m.login.registration_token", "token": token, "session": session}
    body = await challenge(services, "jonas", auth=auth)
    assert (body["completed"], body["session"]) == (["m.login.registration_token"], session)
    assert "errcode" not in body
    assert await register(services, "jonas", auth={**DUMMY, "session": session})


async def test_stages_must_be_completed_in_order(store: Store) -> None:
    services = AccountServices(store, BY_TOKEN)
    body = await challenge(services, "klara", auth=DUMMY)
    assert body["errcode"] == "M_FORBIDDEN"
    assert body["completed"] == []


@pytest.mark.parametrize("auth", [{"token": "no-such-token"}, {"token": None}, {"token": 7}])
async def test_a_wrong_token_may_be_tried_again(store: Store, auth: dict[str, Any]) -> None:
    services = AccountServices(store, BY_TOKEN)
    session = (await challenge(services, auth=None))["session"]
    stage = {"type": "m.login.registration_token", "session": session}
    body = await challenge(services, "lena", auth={**stage, **auth})
    assert body["errcode"]
    assert body["session"] == session
    token = (await services.registration_tokens.create(actor=COMMAND_LINE)).token
    assert (await challenge(services, "lena", auth={**stage, "token": token}))["completed"]


async def begun(services: AccountServices, token: str) -> dict[str, Any]:
    return await challenge(services, auth={"type": "m.login.registration_token", "token": token})


async def test_a_token_is_held_while_a_registration_runs_and_counted_when_it_is_done(store: Store) -> None:
    services = AccountServices(store, BY_TOKEN)
    tokens = services.registration_tokens
    await tokens.create("for-two", uses_allowed=2, actor=COMMAND_LINE)
    first, second = await begun(services, "for-two"), await begun(services, "for-two")
    assert not await tokens.is_valid("for-two")
    assert (await begun(services, "for-two"))["errcode"] == "M_FORBIDDEN"
    await register(services, "mia", auth={**DUMMY, "session": first["session"]})
    (token,) = [token for token in await tokens.list() if token.token == "for-two"]
    assert (token.pending, token.completed) == (1, 1)
    services.clock.advance(3_600_001)
    assert await tokens.is_valid("for-two")
    assert "errcode" in await challenge(services, "nora", auth={**DUMMY, "session": second["session"]})
    (token,) = [token for token in await tokens.list() if token.token == "for-two"]
    assert (token.pending, token.completed) == (0, 1)


async def test_the_last_use_of_a_token_is_given_out_once(store: Store) -> None:
    services = AccountServices(store, BY_TOKEN)
    await services.registration_tokens.create("for-one", uses_allowed=1, actor=COMMAND_LINE)
    bodies = await asyncio.gather(*(begun(services, "for-one") for _ in range(6)))
    assert sum(bool(body["completed"]) for body in bodies) == 1


async def test_an_authentication_makes_one_account(store: Store) -> None:
    services = AccountServices(store, BY_TOKEN)
    await services.registration_tokens.create("once", uses_allowed=1, actor=COMMAND_LINE)
    auth = {**DUMMY, "session": (await begun(services, "once"))["session"]}
    results = await asyncio.gather(
        *(register(services, f"twin{number}", auth=auth) for number in range(4)), return_exceptions=True
    )
    assert sum(isinstance(result, Registered) for result in results) == 1
    assert all(isinstance(result, Registered | Forbidden | InteractiveAuthRequired) for result in results)


async def test_a_name_that_was_taken_meanwhile_can_be_replaced_with_the_same_session(store: Store) -> None:
    services = AccountServices(store, BY_TOKEN)
    await services.registration_tokens.create("retry", uses_allowed=1, actor=COMMAND_LINE)
    auth = {**DUMMY, "session": (await begun(services, "retry"))["session"]}
    await services.make_user("otto")
    with pytest.raises(UserInUse):
        await register(services, "otto", auth=auth)
    assert await register(services, "otto2", auth=auth)


async def test_expired_and_unknown_tokens_are_not_valid(store: Store) -> None:
    services = AccountServices(store, BY_TOKEN)
    await services.registration_tokens.create("short-lived", expires_ts=services.clock.now + 1000, actor=COMMAND_LINE)
    assert await services.registration_tokens.is_valid("short-lived")
    services.clock.advance(1000)
    assert not await services.registration_tokens.is_valid("short-lived")
    assert not await services.registration_tokens.is_valid("unheard-of")
    assert await services.registration_tokens.delete("short-lived", actor=COMMAND_LINE)
    assert not await services.registration_tokens.delete("short-lived", actor=COMMAND_LINE)


@pytest.mark.parametrize(
    ("name", "limits"),
    [("has space", {}), ("x" * 65, {}), ("ok", {"uses_allowed": -1}), ("ok", {"expires_ts": 1}), ("twice", {})],
)
async def test_tokens_that_can_not_be_made(
    account_services: AccountServices, name: str, limits: dict[str, int]
) -> None:
    if name == "twice":
        await account_services.registration_tokens.create(name, actor=COMMAND_LINE)
    with pytest.raises(InvalidParam):
        await account_services.registration_tokens.create(name, actor=COMMAND_LINE, **limits)


async def test_whether_a_token_is_valid_is_not_told_where_registration_is_closed(store: Store) -> None:
    services = AccountServices(store, Policies(registration=RegistrationPolicy()))
    with pytest.raises(Forbidden):
        await services.registration_tokens.is_valid("any")


async def test_a_registration_that_is_repeated_gives_the_same_account_and_device(
    account_services: AccountServices,
) -> None:
    auth = {**DUMMY, "session": (await challenge(account_services, auth=None))["session"]}
    first, second = [await register(account_services, None, auth=auth) for _ in range(2)]
    assert first.tokens and second.tokens
    assert (second.user_id, second.tokens.device_id) == (first.user_id, first.tokens.device_id)
    assert (await account_services.authenticator.requester(second.tokens.access_token)).user_id == first.user_id
    with pytest.raises(UnknownToken):
        await account_services.authenticator.requester(first.tokens.access_token)


@pytest.mark.parametrize(("password", "error"), [("wrong, wrong", Forbidden), (None, MissingParam)])
async def test_a_registration_is_repeated_for_those_who_know_the_password_only(
    account_services: AccountServices, password: str | None, error: type[MatrixError]
) -> None:
    auth = {**DUMMY, "session": (await challenge(account_services, auth=None))["session"]}
    await register(account_services, None, auth=auth)
    with pytest.raises(error):
        await register(account_services, None, auth=auth, password=password)


async def test_an_account_can_be_asked_for_again_as_long_as_its_session_runs(
    account_services: AccountServices,
) -> None:
    auth = {**DUMMY, "session": (await challenge(account_services, "paula", auth=None))["session"]}
    await register(account_services, "paula", auth=auth)
    await challenge(account_services, auth=None)
    assert (await register(account_services, "paula", auth=auth)).user_id == "@paula:hospital.example"
    account_services.clock.advance(3_600_001)
    with pytest.raises(UserInUse):
        await register(account_services, "paula", auth=auth)


async def test_a_session_remembers_what_it_was_begun_with(account_services: AccountServices) -> None:
    session = SessionRequest(device_id="TABLET", initial_device_display_name="The ward's tablet")
    auth = {**DUMMY, "session": (await challenge(account_services, "Quirin", auth=None, session=session))["session"]}
    registered = await register(account_services, None, auth=auth, password=None)
    assert registered.user_id == "@quirin:hospital.example"
    assert registered.tokens is not None
    assert registered.tokens.device_id == "TABLET"
    assert await account_services.log_in("quirin")


async def test_a_session_remembers_that_login_is_inhibited(account_services: AccountServices) -> None:
    auth = {**DUMMY, "session": (await challenge(account_services, "rosa", auth=None, session=None))["session"]}
    registered = await register(account_services, None, auth=auth, password=None)
    assert registered.tokens is None
    again = await register(account_services, None, auth=auth, session=None)
    assert again == registered


async def test_what_a_later_request_says_holds_before_what_the_session_remembers(
    account_services: AccountServices,
) -> None:
    auth = {**DUMMY, "session": (await challenge(account_services, "stefan", auth=None))["session"]}
    assert (await register(account_services, "steffi", auth=auth)).user_id == "@steffi:hospital.example"


async def test_sessions_that_have_ended_leave_no_rows(store: Store) -> None:
    services = AccountServices(store, Policies(uia=UiaPolicy(session_lifetime_ms=1000)))
    for _ in range(10):
        await challenge(services, auth=None)
    services.clock.advance(10_000_000)
    body = await challenge(services, auth=None)
    async with store.database.connection() as connection:
        rows = await connection.fetch("SELECT session_id FROM uia_sessions")
    assert [row["session_id"] for row in rows] == [body["session"]]
