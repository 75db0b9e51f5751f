"""Refreshing access tokens, as the specification has it: the old pair is valid until the new one is used.

Spec: https://spec.matrix.org/v1.19/client-server-api/#refreshing-access-tokens
"""

import asyncio

import pytest

from tests.account_services import AccountServices, Policies
from tim_server.matrix.errors import UnknownToken
from tim_server.services.accounts.open_session import SessionRequest
from tim_server.services.accounts.policy import TokenPolicy
from tim_server.services.accounts.tokens import IssuedTokens
from tim_server.storage.store import Store

REFRESHABLE = SessionRequest(device_id="PHONE", refreshable=True)


async def is_valid(services: AccountServices, access_token: str) -> bool:
    try:
        await services.authenticator.requester(access_token)
    except UnknownToken:
        return False
    return True


async def refreshed(services: AccountServices, tokens: IssuedTokens) -> IssuedTokens:
    assert tokens.refresh_token is not None
    return await services.refresh.refresh(tokens.refresh_token)


async def test_a_client_that_refreshes_gets_an_access_token_that_expires(account_services: AccountServices) -> None:
    tokens = await account_services.make_user("anna", session=REFRESHABLE)
    assert tokens.expires_in_ms == 300_000
    assert tokens.refresh_token is not None
    assert tokens.refresh_token != tokens.access_token


async def test_an_expired_access_token_asks_for_a_soft_logout(account_services: AccountServices) -> None:
    tokens = await account_services.make_user("bernd", session=REFRESHABLE)
    assert await is_valid(account_services, tokens.access_token)
    account_services.clock.advance(300_000)
    for _ in range(2):
        with pytest.raises(UnknownToken) as caught:
            await account_services.authenticator.requester(tokens.access_token)
        assert caught.value.body()["soft_logout"] is True
    assert await is_valid(account_services, (await refreshed(account_services, tokens)).access_token)


async def test_the_new_tokens_belong_to_the_same_device(account_services: AccountServices) -> None:
    tokens = await account_services.make_user("carla", session=REFRESHABLE)
    new = await refreshed(account_services, tokens)
    requester = await account_services.authenticator.requester(new.access_token)
    assert (requester.user_id, requester.device_id) == (tokens.user_id, "PHONE")


async def test_the_old_pair_is_valid_until_the_new_access_token_is_used(account_services: AccountServices) -> None:
    old = await account_services.make_user("doris", session=REFRESHABLE)
    await refreshed(account_services, old)
    new = await refreshed(account_services, old)
    assert await is_valid(account_services, old.access_token)
    assert await is_valid(account_services, new.access_token)
    assert not await is_valid(account_services, old.access_token)
    with pytest.raises(UnknownToken):
        await refreshed(account_services, old)


async def test_the_old_pair_is_valid_until_the_new_refresh_token_is_used(account_services: AccountServices) -> None:
    old = await account_services.make_user("emil", session=REFRESHABLE)
    new = await refreshed(account_services, old)
    newest = await refreshed(account_services, new)
    assert not await is_valid(account_services, old.access_token)
    with pytest.raises(UnknownToken) as caught:
        await refreshed(account_services, old)
    assert "soft_logout" not in caught.value.extra
    assert await is_valid(account_services, newest.access_token)


async def test_a_pair_whose_answer_was_lost_is_revoked_by_the_repetition(account_services: AccountServices) -> None:
    old = await account_services.make_user("frieda", session=REFRESHABLE)
    lost = await refreshed(account_services, old)
    again = await refreshed(account_services, old)
    assert not await is_valid(account_services, lost.access_token)
    assert await is_valid(account_services, again.access_token)


async def test_requests_at_once_leave_one_pair_that_works(account_services: AccountServices) -> None:
    old = await account_services.make_user("gustav", session=REFRESHABLE)
    pairs = await asyncio.gather(*(refreshed(account_services, old) for _ in range(5)))
    assert sorted([await is_valid(account_services, pair.access_token) for pair in pairs]) == [False] * 4 + [True]


async def test_refreshing_for_ever_leaves_no_rows_behind(account_services: AccountServices, store: Store) -> None:
    tokens = await account_services.make_user("hanna", session=REFRESHABLE)
    for _ in range(20):
        tokens = await refreshed(account_services, tokens)
    async with store.database.connection() as connection:
        for table in ("access_tokens", "refresh_tokens"):
            count = await connection.fetchval(f"SELECT count(*) FROM {table} WHERE user_id = $1", tokens.user_id)
            assert count == 2


async def test_an_expired_refresh_token_asks_for_a_soft_logout(store: Store) -> None:
    services = AccountServices(store, Policies(tokens=TokenPolicy(refresh_token_lifetime_ms=1_000_000)))
    tokens = await services.make_user("ida", session=REFRESHABLE)
    services.clock.advance(1_000_000)
    with pytest.raises(UnknownToken) as caught:
        await refreshed(services, tokens)
    assert caught.value.extra["soft_logout"] is True


async def test_an_access_token_can_not_refresh(account_services: AccountServices) -> None:
    tokens = await account_services.make_user("jonas", session=REFRESHABLE)
    with pytest.raises(UnknownToken):
        await account_services.refresh.refresh(tokens.access_token)
    with pytest.raises(UnknownToken):
        await account_services.authenticator.requester(tokens.refresh_token)


async def test_tokens_of_clients_that_do_not_refresh_may_expire_too(store: Store) -> None:
    services = AccountServices(store, Policies(tokens=TokenPolicy(lifetime_ms=60_000)))
    tokens = await services.make_user("klara")
    assert tokens.expires_in_ms == 60_000
    services.clock.advance(60_000)
    with pytest.raises(UnknownToken) as caught:
        await services.authenticator.requester(tokens.access_token)
    assert caught.value.extra["soft_logout"] is True
    assert (await services.log_in("klara", device_id=tokens.device_id)).device_id == tokens.device_id
