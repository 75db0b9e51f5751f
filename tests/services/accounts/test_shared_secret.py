"""Registration with the shared secret, as existing tools do it."""

from typing import Any

import pytest

from tests.account_services import PASSWORD, SECRET, AccountServices, Policies, shared_secret_mac
from tim_server.matrix.errors import Forbidden, InvalidParam, InvalidUsername, Unknown, UserInUse, WeakPassword
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.open_session import SessionRequest
from tim_server.services.accounts.policy import RegistrationPolicy
from tim_server.services.accounts.register import Registered
from tim_server.services.accounts.shared_secret import SharedSecretRequest
from tim_server.storage.store import Store
from tim_server.storage.users import find_user


async def register(services: AccountServices, username: str, **fields: Any) -> Registered:
    """Register with a right proof, unless `fields` say otherwise."""
    values: dict[str, Any] = {
        "nonce": services.shared_secret_registration.new_nonce(),
        "username": username,
        "password": PASSWORD,
        "is_admin": False,
        "user_type": None,
        "display_name": None,
        "session": SessionRequest(),
        **fields,
    }
    parts = [values["nonce"], username, values["password"], "admin" if values["is_admin"] else "notadmin"]
    values.setdefault("mac", shared_secret_mac(SECRET, *parts, *([values["user_type"]] if values["user_type"] else [])))
    registered: Registered = await services.shared_secret_registration.register(SharedSecretRequest(**values))
    return registered


async def test_the_secret_makes_accounts_also_where_registration_is_closed(store: Store) -> None:
    services = AccountServices(store, Policies(registration=RegistrationPolicy()))
    registered = await register(services, "Anna")
    assert registered.tokens is not None
    requester = await services.authenticator.requester(registered.tokens.access_token)
    assert (requester.user_id, requester.is_admin) == ("@anna:hospital.example", False)


async def test_administrators_can_be_made(account_services: AccountServices) -> None:
    registered = await register(account_services, "bernd", is_admin=True)
    assert registered.tokens is not None
    assert (await account_services.authenticator.requester(registered.tokens.access_token)).is_admin


async def test_type_and_display_name_are_kept(account_services: AccountServices, store: Store) -> None:
    await register(account_services, "bot", user_type="bot", display_name="Labor")
    user_id = UserId("@bot:hospital.example")
    async with store.database.connection() as connection:
        user = await find_user(connection, user_id)
    assert user is not None
    assert user.user_type == "bot"
    assert await account_services.profile_reader.profile(user_id, None) == {"displayname": b'"Labor"'}


async def test_a_nonce_is_used_once(account_services: AccountServices) -> None:
    nonce = account_services.shared_secret_registration.new_nonce()
    await register(account_services, "carla", nonce=nonce)
    with pytest.raises(Unknown, match="unrecognised nonce"):
        await register(account_services, "carla2", nonce=nonce)


async def test_a_nonce_expires_after_a_minute(account_services: AccountServices, store: Store) -> None:
    nonce = account_services.shared_secret_registration.new_nonce()
    account_services.clock.advance(60_000)
    with pytest.raises(Unknown):
        await register(account_services, "doris", nonce=nonce)
    await register(account_services, "doris")
    async with store.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM registration_nonces") == 1


@pytest.mark.parametrize("nonce", ["", "made up", "bm9uY2U=", "é"])
async def test_a_made_up_nonce_is_refused(account_services: AccountServices, nonce: str) -> None:
    with pytest.raises(Unknown):
        await register(account_services, "emil", nonce=nonce)


@pytest.mark.parametrize("mac", ["", "0" * 40, "é"])
async def test_a_wrong_proof_is_refused_and_its_nonce_stays_good(account_services: AccountServices, mac: str) -> None:
    nonce = account_services.shared_secret_registration.new_nonce()
    with pytest.raises(Forbidden):
        await register(account_services, "frieda", nonce=nonce, mac=mac)
    await register(account_services, f"frieda{len(mac)}", nonce=nonce)


async def test_the_proof_covers_whether_the_account_is_an_administrator(account_services: AccountServices) -> None:
    nonce = account_services.shared_secret_registration.new_nonce()
    mac = shared_secret_mac(SECRET, nonce, "gustav", PASSWORD, "notadmin")
    with pytest.raises(Forbidden):
        await register(account_services, "gustav", nonce=nonce, mac=mac, is_admin=True)


async def test_what_registration_refuses_is_refused_here_too(account_services: AccountServices) -> None:
    await register(account_services, "hanna")
    with pytest.raises(UserInUse):
        await register(account_services, "hanna")
    with pytest.raises(InvalidUsername):
        await register(account_services, "a b")
    with pytest.raises(WeakPassword):
        await register(account_services, "ida", password="short")
    with pytest.raises(InvalidParam):
        await register(account_services, "ida", user_type="surgeon")


async def test_without_a_secret_it_is_disabled(store: Store) -> None:
    services = AccountServices(store, Policies(shared_secret=None))
    with pytest.raises(Unknown, match="not enabled"):
        services.shared_secret_registration.new_nonce()
    for nonce in ("", "x", "AAAA"):
        with pytest.raises(Unknown, match="not enabled"):
            await register(services, "jonas", nonce=nonce)
