"""Login, logout, refresh: what tokens are worth, and until when."""

import pytest

from tests.account_services import PASSWORD, SERVER_NAME, AccountServices, Policies
from tim_server.matrix.errors import (
    Forbidden,
    InvalidParam,
    LimitExceeded,
    MatrixError,
    UnknownToken,
    UserLocked,
)
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.identify import identified_users
from tim_server.services.accounts.open_session import SessionRequest
from tim_server.services.accounts.passwords import PasswordHashing
from tim_server.services.accounts.policy import AttemptPolicy, PasswordPolicy, TokenPolicy
from tim_server.storage.access_tokens import find_access_token
from tim_server.storage.audit_log import COMMAND_LINE
from tim_server.storage.devices import list_devices
from tim_server.storage.store import Store
from tim_server.storage.users import find_user

pytestmark = pytest.mark.usefixtures("store")


async def is_accepted(services: AccountServices, token: str) -> bool:
    """Whether the token is good; a token that is not must not ask for a soft logout."""
    try:
        await services.authenticator.requester(token)
    except UnknownToken as error:
        assert "soft_logout" not in error.extra
        return False
    return True


async def test_a_login_gives_tokens_that_stand_for_the_user_and_device(account_services: AccountServices) -> None:
    await account_services.make_user("anna")
    tokens = await account_services.log_in("anna", device_id="PHONE")
    requester = await account_services.authenticator.requester(tokens.access_token)
    assert (requester.user_id, requester.device_id) == ("@anna:hospital.example", "PHONE")
    assert tokens.refresh_token is None
    assert tokens.expires_in_ms is None


async def test_tokens_are_stored_as_hashes_only(account_services: AccountServices, store: Store) -> None:
    tokens = await account_services.make_user("hashed")
    async with store.database.connection() as connection:
        assert await find_access_token(connection, tokens.access_token.encode()) is None
        rows = await connection.fetch("SELECT a::text AS row FROM access_tokens AS a")
    assert all(tokens.access_token not in row["row"] for row in rows)


@pytest.mark.parametrize("name", ["Bernd", "bernd", "@bernd:hospital.example", "@BERND:hospital.example"])
async def test_a_name_may_be_written_in_any_case(account_services: AccountServices, name: str) -> None:
    if name == "Bernd":
        await account_services.make_user("Bernd")
    assert (await account_services.log_in(name)).user_id == "@bernd:hospital.example"


@pytest.mark.parametrize("name", ["carla", "nobody", "@carla:elsewhere.example", "", "@", "a\x00b"])
async def test_a_wrong_name_and_a_wrong_password_give_the_same_error(
    account_services: AccountServices, name: str
) -> None:
    if name == "carla":
        await account_services.make_user("carla")
    with pytest.raises(Forbidden) as caught:
        await account_services.log_in(name, "wrong" if name == "carla" else PASSWORD)
    assert caught.value.body() == {"errcode": "M_FORBIDDEN", "error": "The user name or password is wrong"}


async def test_an_unknown_user_costs_as_much_hashing_as_a_known_one(
    account_services: AccountServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    await account_services.make_user("measured")
    hashed: list[str | None] = []
    verify = PasswordHashing.verify

    async def recording(self: PasswordHashing, password: str, password_hash: str | None) -> bool:
        hashed.append(password_hash)
        return await verify(self, password, password_hash)

    monkeypatch.setattr(PasswordHashing, "verify", recording)
    for name in ("measured", "unheard-of"):
        with pytest.raises(Forbidden):
            await account_services.log_in(name, "wrong")
    assert hashed[0] is not None
    assert hashed[1:] == [None]


async def test_a_device_that_logs_in_again_keeps_its_name_and_loses_its_old_tokens(
    account_services: AccountServices, store: Store
) -> None:
    await account_services.make_user("doris")
    first = await account_services.log_in("doris", device_id="D", initial_device_display_name="Ward 3")
    second = await account_services.log_in("doris", device_id="D", initial_device_display_name="Ignored")
    assert not await is_accepted(account_services, first.access_token)
    assert await is_accepted(account_services, second.access_token)
    async with store.database.connection() as connection:
        devices = await list_devices(connection, store.codec, UserId("@doris:hospital.example"))
    assert [d.display_name for d in devices if d.device_id == "D"] == ["Ward 3"]


async def test_a_login_without_a_device_id_makes_a_new_device(account_services: AccountServices) -> None:
    await account_services.make_user("emil")
    devices = {(await account_services.log_in("emil")).device_id for _ in range(3)}
    assert len(devices) == 3


async def test_a_device_id_that_is_too_long_is_refused(account_services: AccountServices) -> None:
    await account_services.make_user("frieda")
    with pytest.raises(InvalidParam):
        await account_services.log_in("frieda", device_id="X" * 256)


async def test_the_device_seen_longest_ago_makes_room_for_one_too_many(store: Store) -> None:
    services = AccountServices(store, Policies(tokens=TokenPolicy(devices_per_user_max=3)))
    tokens = [await services.make_user("gustav", session=SessionRequest(device_id="0"))]
    for number in range(1, 4):
        services.clock.advance(1000)
        tokens.append(await services.log_in("gustav", device_id=str(number)))
    assert [await is_accepted(services, token.access_token) for token in tokens] == [False, True, True, True]
    async with store.database.connection() as connection:
        devices = await list_devices(connection, store.codec, UserId("@gustav:hospital.example"))
    assert [device.device_id for device in devices] == ["1", "2", "3"]


async def test_a_thousand_logins_leave_no_more_rows_than_the_bound_says(store: Store) -> None:
    services = AccountServices(store, Policies(tokens=TokenPolicy(devices_per_user_max=5)))
    user_id = (await services.make_user("robot")).user_id
    for _ in range(1000):
        await services.login.open_session(user_id, SessionRequest(refreshable=True))
    async with store.database.connection() as connection:
        for table in ("devices", "access_tokens", "refresh_tokens"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table} WHERE user_id = $1", user_id) <= 5


async def test_logout_ends_the_session_and_removes_its_device(account_services: AccountServices, store: Store) -> None:
    await account_services.make_user("hanna")
    here, there = await account_services.log_in("hanna"), await account_services.log_in("hanna")
    await account_services.logout.logout(await account_services.authenticator.requester(here.access_token))
    assert not await is_accepted(account_services, here.access_token)
    assert await is_accepted(account_services, there.access_token)
    async with store.database.connection() as connection:
        devices = await list_devices(connection, store.codec, here.user_id)
    assert here.device_id not in [device.device_id for device in devices]


async def test_logout_everywhere_ends_all_sessions(account_services: AccountServices) -> None:
    tokens = [await account_services.make_user("ida"), await account_services.log_in("ida", refreshable=True)]
    for token in tokens:
        assert await is_accepted(account_services, token.access_token)
    await account_services.logout.logout_all(tokens[0].user_id)
    for token in tokens:
        assert not await is_accepted(account_services, token.access_token)
    with pytest.raises(UnknownToken):
        await account_services.refresh.refresh(tokens[1].refresh_token)


@pytest.mark.parametrize("token", ["", "tim_at_unknown", "x" * 100_000, "schlüssel", "\ud800"])
async def test_a_token_that_was_never_given_out_is_unknown(account_services: AccountServices, token: str) -> None:
    assert not await is_accepted(account_services, token)


async def test_another_process_learns_of_a_logout_through_the_commit_log(store: Store) -> None:
    here, there = AccountServices(store), AccountServices(store)
    token = (await here.make_user("jonas")).access_token
    requester = await here.authenticator.requester(token)
    assert await is_accepted(there, token)
    await there.logout.logout(requester)
    assert not await is_accepted(here, token)


async def test_what_was_read_before_a_revocation_does_not_enter_the_cache_after_it(store: Store) -> None:
    services = AccountServices(store)
    token = (await services.make_user("klara")).access_token
    generation = services.token_cache.generation
    await services.authenticator.requester(token)
    (digest, entry), *_ = services.token_cache._entries.items()
    services.token_cache.drop_user(entry.requester.user_id)
    services.token_cache.put(digest, entry, generation=generation)
    assert services.token_cache.get(digest) is None


async def test_the_cache_keeps_the_tokens_used_last(store: Store) -> None:
    services = AccountServices(store, Policies(tokens=TokenPolicy(cache_entries_max=2)))
    tokens = [(await services.make_user(f"cached{number}")).access_token for number in range(3)]
    for token in tokens:
        assert await is_accepted(services, token)
    assert len(services.token_cache._entries) == 2
    assert len(services.token_cache._hashes_of) == 2
    assert await is_accepted(services, tokens[0])


async def test_a_device_is_marked_as_seen_about_once_an_hour(account_services: AccountServices, store: Store) -> None:
    tokens = await account_services.make_user("seen")
    account_services.clock.advance(3_600_001)
    await account_services.authenticator.requester(tokens.access_token)
    async with store.database.connection() as connection:
        (device,) = await list_devices(connection, store.codec, tokens.user_id)
    assert device.last_seen_ts == account_services.clock.now


async def test_too_many_wrong_passwords_stop_the_account_for_a_while(store: Store) -> None:
    services = AccountServices(store, Policies(attempts=AttemptPolicy(failures_max=3, window_ms=60_000)))
    await services.make_user("lena")
    for _ in range(3):
        with pytest.raises(Forbidden):
            await services.log_in("lena", "wrong")
    with pytest.raises(LimitExceeded) as caught:
        await services.log_in("Lena")
    assert 0 < caught.value.extra["retry_after_ms"] <= 60_000
    services.clock.advance(60_001)
    await services.log_in("lena")


async def test_names_without_an_account_are_limited_alike(store: Store) -> None:
    services = AccountServices(store, Policies(attempts=AttemptPolicy(failures_max=1)))
    with pytest.raises(Forbidden):
        await services.log_in("no-such-account")
    with pytest.raises(LimitExceeded):
        await services.log_in("no-such-account")


async def test_the_right_password_forgets_the_wrong_ones(store: Store) -> None:
    services = AccountServices(store, Policies(attempts=AttemptPolicy(failures_max=2)))
    await services.make_user("mia")
    for _ in range(3):
        with pytest.raises(Forbidden):
            await services.log_in("mia", "wrong")
        await services.log_in("mia")


async def test_expired_attempts_leave_no_rows(store: Store) -> None:
    services = AccountServices(store, Policies(attempts=AttemptPolicy(window_ms=1000)))
    for number in range(5):
        with pytest.raises(Forbidden):
            await services.log_in(f"guess{number}")
    services.clock.advance(400_000)
    with pytest.raises(Forbidden):
        await services.log_in("last-guess")
    async with store.database.connection() as connection:
        rows = await connection.fetch("SELECT user_id FROM login_attempts")
    assert [row["user_id"] for row in rows] == ["@last-guess:hospital.example"]


async def test_a_locked_account_keeps_its_tokens_but_may_only_log_out(account_services: AccountServices) -> None:
    tokens = await account_services.make_user("nora", session=SessionRequest(refreshable=True))
    await account_services.account_directory.set_locked(tokens.user_id, locked=True, actor=COMMAND_LINE)
    with pytest.raises(UserLocked) as caught:
        await account_services.authenticator.requester(tokens.access_token)
    assert caught.value.body()["soft_logout"] is True
    with pytest.raises(UserLocked):
        await account_services.log_in("nora")
    with pytest.raises(UserLocked):
        await account_services.refresh.refresh(tokens.refresh_token)
    assert await account_services.authenticator.requester(tokens.access_token, locked_ok=True)
    await account_services.account_directory.set_locked(tokens.user_id, locked=False, actor=COMMAND_LINE)
    assert await is_accepted(account_services, tokens.access_token)


async def test_a_suspended_account_is_told_apart(account_services: AccountServices) -> None:
    tokens = await account_services.make_user("olga")
    await account_services.account_directory.set_suspended(tokens.user_id, suspended=True, actor=COMMAND_LINE)
    assert (await account_services.authenticator.requester(tokens.access_token)).is_suspended


async def test_hashes_are_made_anew_when_the_cost_was_raised(store: Store) -> None:
    cheap = AccountServices(store)
    user_id = (await cheap.make_user("paul")).user_id
    dear = AccountServices(store, Policies(passwords=PasswordPolicy(memory_kib=128, time_cost=2)))
    await dear.log_in("paul")
    async with store.database.connection() as connection:
        user = await find_user(connection, user_id)
    assert user is not None
    assert user.password_hash is not None
    assert "m=128,t=2" in user.password_hash
    await dear.log_in("paul")


@pytest.mark.parametrize(
    ("fields", "errcode"),
    [
        ({}, "M_MISSING_PARAM"),
        ({"identifier": {"type": "m.id.user"}}, "M_MISSING_PARAM"),
        ({"identifier": "anna"}, "M_BAD_JSON"),
        ({"identifier": {"type": "org.example.badge", "badge": "1"}}, "M_UNKNOWN"),
        ({"identifier": {"type": "m.id.thirdparty", "medium": "email", "address": "a@b.example"}}, "M_FORBIDDEN"),
        ({"identifier": {"medium": "email", "address": "a@b.example"}}, "M_FORBIDDEN"),
        ({"identifier": {"type": "m.id.phone", "country": "DE", "phone": "030"}}, "M_FORBIDDEN"),
        ({"medium": "email", "address": "a@b.example"}, "M_FORBIDDEN"),
    ],
)
def test_identifiers_that_lead_to_no_account_here(fields: dict[str, object], errcode: str) -> None:
    with pytest.raises(MatrixError) as caught:
        identified_users(fields, SERVER_NAME)
    assert caught.value.errcode == errcode
