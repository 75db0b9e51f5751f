"""Words by which users are found, and tables that are made anew."""

import pytest

from tests.storage.commits import Statement, room_commit
from tim_server.matrix.identifiers import UserId
from tim_server.storage.new_events import NewEvent
from tim_server.storage.open_rooms import OPENING, rebuild_open_rooms
from tim_server.storage.profiles import put_field
from tim_server.storage.room_commit_records import RoomCommit, StateChange
from tim_server.storage.search_words import WORD_LENGTH_MAX, WORDS_MAX, words_of
from tim_server.storage.store import Store
from tim_server.storage.user_directory import UserSearch, index_users, rebuild_user_directory, search_users
from tim_server.storage.users import User, insert_user, set_locked


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Dr. Zoë Müller-Lüdenscheidt", ["dr", "zoe", "muller", "ludenscheidt"]),
        ("STRASSE straße", ["strasse"]),
        ("Ωμέγα İstanbul", ["ωμεγα", "istanbul"]),
        ("山田 太郎", ["山田", "太郎"]),
        ("under_score x__y", ["under", "score", "x", "y"]),
        ("💊 \0 \u202e", []),
        ("ﬁrst ①", ["first", "1"]),
    ],
)
def test_words_are_compared_without_case_accents_and_punctuation(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_words_have_limits() -> None:
    assert len(words_of(" ".join(map(str, range(1_000))))) == WORDS_MAX
    assert words_of("x" * 1_000) == ["x" * WORD_LENGTH_MAX]


async def make_user(store: Store, name: str, **fields: object) -> UserId:
    user_id = UserId(f"@{name}:hospital.example")
    async with store.database.transaction() as tx:
        await insert_user(tx, User(user_id=user_id, password_hash=None, created_ts=1, **fields))  # type: ignore[arg-type]
        await put_field(tx, user_id, "displayname", store.codec.encode(b'"Nurse"'), position=1)
        await index_users(tx, store.codec, [user_id])
    return user_id


async def found(store: Store) -> list[UserId]:
    async with store.database.read() as tx:
        by = UserId("@alice:hospital.example")
        return await search_users(tx, UserSearch(by=by, prefixes=["nurse"], everybody=True, limit=10))


async def test_locked_guest_and_support_accounts_are_not_found(store: Store) -> None:
    bob = await make_user(store, "bob")
    await make_user(store, "guest", is_guest=True)
    await make_user(store, "support", user_type="support")
    bot = await make_user(store, "robot", user_type="bot")
    assert await found(store) == [bob, bot]
    async with store.database.transaction() as tx:
        await set_locked(tx, bob, 1)
    assert await found(store) == [bot]


async def test_colleagues_are_found_however_many_strangers_have_such_a_name(store: Store) -> None:
    by, colleague = UserId("@alice:hospital.example"), await make_user(store, "zoe")
    async with store.database.transaction() as tx:
        await tx.execute(
            "INSERT INTO users (user_id, created_ts) SELECT '@stranger' || n, 1 FROM generate_series(1, 600) n"
        )
        await tx.execute(
            "INSERT INTO user_directory SELECT '@stranger' || n, 'nurse' FROM generate_series(1, 600) AS n"
        )
        for user_id in (by, colleague):
            await tx.execute("INSERT INTO memberships VALUES ($1, -7, 'join', 1, 1)", user_id)
        search = UserSearch(by=by, prefixes=["nur"], everybody=False, limit=10)
        assert await search_users(tx, search) == [colleague]
        await tx.execute("DELETE FROM users WHERE user_id LIKE '@stranger%'")
        await tx.execute("DELETE FROM user_directory WHERE user_id LIKE '@stranger%'")
        await tx.execute("DELETE FROM memberships WHERE room_nid = -7")


async def test_the_directory_is_made_anew(store: Store) -> None:
    carol = await make_user(store, "carol")
    async with store.database.transaction() as tx:
        assert await rebuild_user_directory(tx, store.codec) == 0
        await tx.execute("DELETE FROM user_directory WHERE user_id = $1 AND word = 'nurse'", carol)
        await tx.execute("INSERT INTO user_directory VALUES ($1, 'wrong'), ('@nobody:hospital.example', 'x')", carol)
        assert await rebuild_user_directory(tx, store.codec) == 3
        assert await rebuild_user_directory(tx, store.codec) == 0
    assert carol in await found(store)


async def state_commit(store: Store, *changes: StateChange, body: bytes, **fields: object) -> RoomCommit:
    (event,) = (await room_commit(store)).events
    event = NewEvent(**({name: getattr(event, name) for name in NewEvent.__slots__} | {"body": body}))
    told = tuple(StateChange(type=c.type, state_key=c.state_key, event_nid=event.nid) for c in changes)
    return await room_commit(store, events=(event,), state_changes=told, **fields)


@pytest.mark.parametrize("event_type", [*OPENING])
async def test_open_rooms_follow_the_state_also_where_it_goes_back(store: Store, event_type: str) -> None:
    key, value = OPENING[event_type]
    change = StateChange(type=event_type, state_key="", event_nid=None)
    opening = await state_commit(store, change, body=b'{"content":{"%b":"%b"}}' % (key.encode(), value.encode()))

    async def is_open() -> bool:
        async with store.database.connection() as tx:
            return bool(await tx.fetchval("SELECT count(*) FROM open_rooms WHERE room_nid = $1", opening.room_nid))

    placed = await store.writer.commit_room(opening)
    assert await is_open()
    same = {"room_nid": opening.room_nid}
    shut = await state_commit(
        store, change, body=b'{"content":{"%b":7}}' % key.encode(), expected_version=placed.last_position, **same
    )
    placed = await store.writer.commit_room(shut)
    assert not await is_open()
    back = StateChange(type=event_type, state_key="", event_nid=opening.events[0].nid)
    placed = await store.writer.commit_room(
        await room_commit(store, state_changes=(back,), expected_version=placed.last_position, **same)
    )
    assert await is_open()
    gone = StateChange(type=event_type, state_key="", event_nid=None)
    await store.writer.commit_room(
        await room_commit(store, state_changes=(gone,), expected_version=placed.last_position, **same)
    )
    assert not await is_open()


async def test_open_rooms_are_made_anew(store: Store) -> None:
    change = StateChange(type="m.room.join_rules", state_key="", event_nid=None)
    commit = await state_commit(store, change, body=b'{"content":{"join_rule":"public"}}')
    await store.writer.commit_room(commit)
    await store.writer.write(Statement("DELETE FROM open_rooms"))
    await store.writer.write(Statement("INSERT INTO open_rooms VALUES (-1, 'm.room.join_rules')"))
    async with store.database.transaction() as tx:
        assert await rebuild_open_rooms(tx, store.codec) == 2
        assert await rebuild_open_rooms(tx, store.codec) == 0
