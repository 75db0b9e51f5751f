"""Tables of accounts: what the services rely on, statement by statement."""

import pytest

from tim_server.matrix.identifiers import UserId
from tim_server.storage.access_tokens import (
    NewToken,
    NewTokens,
    find_access_token,
    find_refresh_token,
    insert_tokens,
    revoke_predecessor,
    revoke_successors,
)
from tim_server.storage.database import Connection, Database
from tim_server.storage.devices import devices_beyond, upsert_device
from tim_server.storage.filters import put_filter, read_filter
from tim_server.storage.login_attempts import count_attempt, forget_attempts
from tim_server.storage.registration_tokens import find_registration_token, insert_registration_token
from tim_server.storage.uia_sessions import (
    UiaSession,
    complete_stage,
    consume_session,
    find_session,
    insert_session,
)
from tim_server.storage.users import (
    User,
    deactivate_user,
    find_first_user,
    insert_user,
    replace_password_hash,
    set_password_hash,
)

ANNA = UserId("@anna:hospital.example")


@pytest.fixture
async def tx(database: Database):
    """A transaction that is rolled back."""
    connection = await database.connect()
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


def user(user_id: UserId = ANNA, password_hash: str | None = "hash") -> User:
    """An account made at time 1."""
    return User(user_id=user_id, password_hash=password_hash, created_ts=1)


def pair(name: bytes, predecessor: int | None = None) -> NewTokens:
    """An access and a refresh token of Anna's device D, with hashes made of `name`."""
    return NewTokens(
        user_id=ANNA,
        device_id="D",
        access=NewToken(token_hash=b"access" + name, expires_ts=None),
        refresh=NewToken(token_hash=b"refresh" + name, expires_ts=None),
        predecessor=predecessor,
    )


def session(**fields: object) -> UiaSession:
    """A session that runs until 1000."""
    defaults: dict[str, object] = {
        "session_id": "s",
        "operation": "register",
        "user_id": None,
        "completed": (),
        "registration_token": None,
        "expires_ts": 1000,
    }
    return UiaSession(**(defaults | fields))  # type: ignore[arg-type]


async def test_a_user_id_is_given_out_once(tx: Connection) -> None:
    assert await insert_user(tx, user())
    assert not await insert_user(tx, user(password_hash="another"))
    found = await find_first_user(tx, [UserId("@Anna:hospital.example"), ANNA])
    assert found == user()


async def test_a_closed_account_gets_no_password_again(tx: Connection) -> None:
    await insert_user(tx, user())
    assert await deactivate_user(tx, ANNA, 5)
    assert not await deactivate_user(tx, ANNA, 6)
    assert not await set_password_hash(tx, ANNA, "new")


async def test_a_hash_is_replaced_only_while_it_is_the_one_that_was_checked(tx: Connection) -> None:
    await insert_user(tx, user())
    await replace_password_hash(tx, ANNA, old="outdated", new="lost")
    await replace_password_hash(tx, ANNA, old="hash", new="kept")
    assert (await find_first_user(tx, [ANNA])) == user(password_hash="kept")


async def test_pairs_of_tokens_follow_one_another(tx: Connection) -> None:
    await insert_user(tx, user())
    await upsert_device(tx, ANNA, "D", sealed_name=None, now=1)
    await insert_tokens(tx, pair(b"1"))
    first = await find_refresh_token(tx, b"refresh1")
    assert first is not None
    await insert_tokens(tx, pair(b"2", first.token_id))
    await revoke_successors(tx, first.token_id)
    assert await find_access_token(tx, b"access2") is None
    await insert_tokens(tx, pair(b"3", first.token_id))
    third = await find_access_token(tx, b"access3")
    assert third is not None
    assert third.predecessor == first.token_id
    assert third.refresh_token_id is not None
    await revoke_predecessor(tx, third.refresh_token_id, first.token_id)
    assert await find_access_token(tx, b"access1") is None
    assert await find_refresh_token(tx, b"refresh1") is None
    third = await find_access_token(tx, b"access3")
    assert third is not None
    assert third.predecessor is None


async def test_the_devices_beyond_the_bound_are_those_seen_longest_ago(tx: Connection) -> None:
    for seen, device_id in enumerate("ABCD"):
        await upsert_device(tx, ANNA, device_id, sealed_name=None, now=seen)
    assert await devices_beyond(tx, ANNA, kept="A", limit=2) == ["C", "B"]
    assert await devices_beyond(tx, ANNA, kept="NEW", limit=4) == ["A"]
    assert await devices_beyond(tx, ANNA, kept="NEW", limit=5) == []


async def test_attempts_are_counted_within_a_window_that_later_ones_do_not_extend(tx: Connection) -> None:
    assert await count_attempt(tx, ANNA, now=0, window_ms=100) == (1, 100)
    assert await count_attempt(tx, ANNA, now=99, window_ms=100) == (2, 100)
    assert await count_attempt(tx, ANNA, now=100, window_ms=100) == (1, 200)
    await forget_attempts(tx, ANNA)
    assert await count_attempt(tx, ANNA, now=101, window_ms=100) == (1, 201)


async def test_a_stage_is_added_only_to_what_was_seen(tx: Connection) -> None:
    await insert_session(tx, session(), now=0)
    assert await complete_stage(tx, session(), "m.login.dummy")
    assert not await complete_stage(tx, session(), "m.login.dummy")
    assert await find_session(tx, "s", now=999) == session(completed=("m.login.dummy",))
    assert await find_session(tx, "s", now=1000) is None


async def test_consumed_sessions_are_folded_into_their_token_and_count_once(tx: Connection) -> None:
    await insert_registration_token(tx, "T", uses_allowed=5, expires_ts=None)

    async def counts(now: int) -> tuple[int, int]:
        token = await find_registration_token(tx, "T", now=now)
        assert token is not None
        return token.pending, token.completed

    for name in ("consumed", "running", "expired"):
        await insert_session(tx, session(session_id=name, registration_token="T"), now=0)
    assert await counts(0) == (3, 0)
    assert await consume_session(tx, "consumed", now=0)
    assert not await consume_session(tx, "consumed", now=0)
    assert not await consume_session(tx, "expired", now=1000)
    assert await counts(0) == (2, 1)
    assert await counts(1000) == (0, 1)
    await insert_session(tx, session(session_id="later", expires_ts=9000), now=1000)
    assert await counts(1000) == (0, 1)
    assert await tx.fetchval("SELECT completed FROM registration_tokens WHERE token = 'T'") == 1
    assert await tx.fetchval("SELECT count(*) FROM uia_sessions") == 1


async def test_filters_of_users_are_numbered_apart(tx: Connection) -> None:
    other = UserId("@bernd:hospital.example")
    assert [await put_filter(tx, ANNA, definition, per_user_max=9) for definition in (b"{}", b"[]", b"{}")] == [1, 2, 1]
    assert await put_filter(tx, other, b"{}", per_user_max=9) == 1
    assert await read_filter(tx, ANNA, 2) == b"[]"
    assert await read_filter(tx, other, 2) is None
