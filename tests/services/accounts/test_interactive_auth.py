"""Changing a password and closing an account: both ask for the password through user-interactive authentication.

Spec: https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api
"""

from typing import Any

import pytest

from tests.account_services import PASSWORD, AccountServices, Policies
from tim_server.matrix.errors import (
    Forbidden,
    InteractiveAuthRequired,
    LimitExceeded,
    MatrixError,
    NotFound,
    UnknownToken,
    WeakPassword,
)
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.policy import AttemptPolicy, PasswordPolicy
from tim_server.services.accounts.requester import Requester
from tim_server.storage.audit_log import COMMAND_LINE
from tim_server.storage.store import Store

NEW_PASSWORD = "a new and better password"


def proof(name: str, password: str = PASSWORD, **fields: Any) -> dict[str, Any]:
    """The `auth` of a password stage."""
    identifier = {"type": "m.id.user", "user": name}
    return {"type": "m.login.password", "identifier": identifier, "password": password, **fields}


async def change(
    services: AccountServices, requester: Requester, auth: dict[str, Any] | None, *, logout_devices: bool = True
) -> None:
    await services.password_change.change(requester, NEW_PASSWORD, auth, logout_devices=logout_devices)


async def challenge(services: AccountServices, requester: Requester, auth: dict[str, Any] | None) -> dict[str, Any]:
    with pytest.raises(InteractiveAuthRequired) as caught:
        await change(services, requester, auth)
    return caught.value.body()


async def is_valid(services: AccountServices, access_token: str) -> bool:
    try:
        await services.authenticator.requester(access_token)
    except UnknownToken:
        return False
    return True


async def test_the_old_password_sets_a_new_one(account_services: AccountServices) -> None:
    requester = await account_services.make_requester("anna")
    body = await challenge(account_services, requester, None)
    assert body["flows"] == [{"stages": ["m.login.password"]}]
    await change(account_services, requester, proof("anna", session=body["session"]))
    assert await account_services.log_in("anna", NEW_PASSWORD)
    with pytest.raises(Forbidden):
        await account_services.log_in("anna", PASSWORD)


async def test_the_older_form_of_the_identifier_is_taken(account_services: AccountServices) -> None:
    requester = await account_services.make_requester("arno")
    await change(account_services, requester, {"type": "m.login.password", "user": "Arno", "password": PASSWORD})


@pytest.mark.parametrize(
    "auth",
    [
        proof("bernd", "wrong password"),
        proof("somebody-else"),
        {"type": "m.login.password", "password": PASSWORD},
        {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "bernd"}},
        {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "bernd"}, "password": 1},
        {"type": "m.login.password", "identifier": {"type": "m.id.thirdparty"}, "password": PASSWORD},
        {"type": "m.login.dummy"},
        {"type": ["m.login.password"]},
        {"session": "unknown"},
        {},
    ],
)
async def test_a_failed_attempt_may_be_repeated_in_its_session(
    account_services: AccountServices, auth: dict[str, Any]
) -> None:
    requester = Requester(user_id=UserId("@bernd:hospital.example"), device_id=None, token_id=0)
    if auth == {}:
        await account_services.make_user("bernd")
    session = (await challenge(account_services, requester, None))["session"]
    body = await challenge(account_services, requester, {"session": session, **auth})
    assert body["flows"] == [{"stages": ["m.login.password"]}]
    assert ("errcode" in body) == ("type" in auth)
    if auth.get("session") != "unknown":
        assert body["session"] == session


async def test_wrong_passwords_here_count_as_those_of_logins(store: Store) -> None:
    services = AccountServices(store, Policies(attempts=AttemptPolicy(failures_max=2)))
    requester = await services.make_requester("carla")
    await challenge(services, requester, proof("carla", "wrong"))
    with pytest.raises(Forbidden):
        await services.log_in("carla", "wrong")
    with pytest.raises(LimitExceeded):
        await change(services, requester, proof("carla"))


async def test_a_session_is_good_for_one_operation_of_one_user(account_services: AccountServices) -> None:
    requester = await account_services.make_requester("doris")
    other = await account_services.make_requester("dora")
    session = (await challenge(account_services, requester, None))["session"]
    with pytest.raises(Forbidden):
        await account_services.deactivation.deactivate(requester, proof("doris", session=session), erase=False)
    with pytest.raises(Forbidden):
        await change(account_services, other, proof("dora", session=session))
    await change(account_services, requester, proof("doris", session=session))
    assert (await challenge(account_services, requester, {"session": session}))["session"] != session


async def test_other_devices_are_logged_out_unless_the_user_says_otherwise(account_services: AccountServices) -> None:
    here = await account_services.make_user("emil")
    there = await account_services.log_in("emil")
    requester = await account_services.authenticator.requester(here.access_token)
    await change(account_services, requester, proof("emil"), logout_devices=False)
    assert await is_valid(account_services, there.access_token)
    await change(account_services, requester, proof("emil", NEW_PASSWORD))
    assert not await is_valid(account_services, there.access_token)
    assert await is_valid(account_services, here.access_token)


async def test_a_weak_password_is_refused_before_authentication(account_services: AccountServices) -> None:
    requester = await account_services.make_requester("frieda")
    with pytest.raises(WeakPassword):
        await account_services.password_change.change(requester, "short", None, logout_devices=True)


async def test_passwords_can_be_managed_elsewhere(store: Store) -> None:
    services = AccountServices(store, Policies(passwords=PasswordPolicy(memory_kib=64, change_allowed=False)))
    requester = await services.make_requester("gustav")
    with pytest.raises(Forbidden):
        await change(services, requester, proof("gustav"))
    assert services.capabilities.document()["m.change_password"] == {"enabled": False}


async def test_an_administrator_can_reset_a_password(account_services: AccountServices) -> None:
    tokens = await account_services.make_user("hanna")
    await account_services.password_change.reset(tokens.user_id, NEW_PASSWORD, logout_devices=True, actor=COMMAND_LINE)
    assert not await is_valid(account_services, tokens.access_token)
    assert await account_services.log_in("hanna", NEW_PASSWORD)
    with pytest.raises(Forbidden):
        await account_services.password_change.reset(
            UserId("@nobody:hospital.example"), NEW_PASSWORD, logout_devices=True, actor=COMMAND_LINE
        )


async def test_passwords_are_compared_after_normalisation(account_services: AccountServices) -> None:
    tokens = await account_services.make_user("heinz")
    await account_services.password_change.reset(
        tokens.user_id, "Stra\u00dfenb\u00e4nke", logout_devices=False, actor=COMMAND_LINE
    )
    assert await account_services.log_in("heinz", "Stra\u00dfenba\u0308nke")


async def deactivate(services: AccountServices, name: str, *, erase: bool = False) -> None:
    requester = (await services.log_in(name)).access_token
    requester = await services.authenticator.requester(requester)
    await services.deactivation.deactivate(requester, proof(name), erase=erase)


async def test_deactivation_ends_sessions_leaves_rooms_and_forgets_the_password(
    account_services: AccountServices, store: Store
) -> None:
    tokens = await account_services.make_user("ida")
    await deactivate(account_services, "ida")
    assert not await is_valid(account_services, tokens.access_token)
    assert account_services.left == [tokens.user_id]
    with pytest.raises(Forbidden):
        await account_services.log_in("ida")
    user = await account_services.account_directory.find(tokens.user_id)
    assert (user.deactivated_ts, user.password_hash) == (account_services.clock.now, None)


async def test_deactivation_takes_the_password(account_services: AccountServices) -> None:
    requester = await account_services.make_requester("jonas")
    for auth in (None, proof("jonas", "wrong")):
        with pytest.raises(InteractiveAuthRequired):
            await account_services.deactivation.deactivate(requester, auth, erase=False)
    assert account_services.left == []
    assert await account_services.log_in("jonas")


@pytest.mark.parametrize("erase", [False, True])
async def test_erasure_removes_profile_and_account_data(account_services: AccountServices, *, erase: bool) -> None:
    requester = await account_services.make_requester(f"klara{erase:d}")
    user_id = requester.user_id
    await account_services.account_data.put(requester, user_id, "org.example.note", {"a": 1}, None)
    await account_services.profile_change.set_field(requester, user_id, "displayname", "Klara")
    await deactivate(account_services, user_id.localpart, erase=erase)
    reads = [
        account_services.account_data.read(requester, user_id, "org.example.note", None),
        account_services.profile_reader.profile(user_id, None),
    ]
    for read in reads:
        if erase:
            with pytest.raises(NotFound):
                await read
        else:
            assert await read


async def test_accounts_are_listed_in_order(store: Store, account_services: AccountServices) -> None:
    for name in ("zz-c", "zz-a", "zz-b"):
        await account_services.make_user(name)
    directory = account_services.account_directory
    page = await directory.list(after="@zz-", limit=2)
    assert [user.user_id.localpart for user in page] == ["zz-a", "zz-b"]
    assert [user.user_id.localpart for user in await directory.list(after=page[-1].user_id)] == ["zz-c"]


async def test_there_is_nothing_to_lock_where_there_is_no_account(account_services: AccountServices) -> None:
    nobody = UserId("@nobody:hospital.example")
    directory = account_services.account_directory
    for attempt in (
        directory.set_locked(nobody, locked=True, actor=COMMAND_LINE),
        directory.set_suspended(nobody, suspended=True, actor=COMMAND_LINE),
        directory.find(nobody),
    ):
        with pytest.raises(MatrixError) as caught:
            await attempt
        assert caught.value.errcode == "M_NOT_FOUND"
