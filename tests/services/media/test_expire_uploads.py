"""What users upload goes when nobody looks at it any more, where that is configured; avatars stay."""

import asyncio
from urllib.parse import quote

import pytest

from tests.files import download, uploaded
from tests.people import SERVER, Hospital, Person
from tests.services.media.policies import policy_of
from tim_server.matrix.identifiers import ServerName
from tim_server.services.media.avatars import AvatarsInUse
from tim_server.services.media.expire import MEDIA_PER_STEP
from tim_server.services.media.expire_uploads import UploadExpiry
from tim_server.storage.media_removal import oldest_uploads
from tim_server.storage.store import Store

LIFETIME_S = 90 * 86_400.0
NOW = 2 * 10**12


def expiry_of(store: Store, lifetime_s: float | None = LIFETIME_S, *, now: int = NOW) -> UploadExpiry:
    policy = policy_of(local_lifetime_s=lifetime_s)
    avatars = AvatarsInUse(server_name=ServerName(SERVER), database=store.database, codec=store.codec)
    return UploadExpiry(database=store.database, avatars=avatars, policy=policy, now_ms=lambda: now)


@pytest.fixture
async def alice(hospital: Hospital, store: Store) -> Person:
    async with store.database.transaction() as tx:
        await tx.execute("TRUNCATE media")
    return await hospital.person()


async def age(store: Store, file: str, looked_at_ts: int) -> None:
    async with store.database.transaction() as tx:
        await tx.execute(
            "UPDATE media SET last_access_ts = $2 WHERE media_id = $1", file.partition("/")[2], looked_at_ts
        )


async def are_here(person: Person, *files: str) -> list[bool]:
    return [(await download(person, file)).status == 200 for file in files]


async def test_uploads_that_nobody_looks_at_expire(store: Store, alice: Person) -> None:
    old, looked_at = await uploaded(alice, b"old"), await uploaded(alice, b"looked at")
    before = NOW - int(LIFETIME_S * 1000)
    await age(store, old, before - 1)
    await age(store, looked_at, before)
    await expiry_of(store, None).expire()
    async with store.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM media") == 2
    await expiry_of(store).expire()
    assert await are_here(alice, old, looked_at) == [False, True]


async def test_who_removes_files_keeps_nobody_from_looking(store: Store, alice: Person) -> None:
    file = await uploaded(alice, b"content")
    await age(store, file, 1)
    async with store.database.transaction() as tx:
        assert len(await oldest_uploads(tx, before=2, limit=10)) == 1
        async with asyncio.timeout(5):
            assert await are_here(alice, file) == [True]
            await uploaded(alice, b"another")


async def test_a_look_counts(store: Store, alice: Person) -> None:
    file = await uploaded(alice, b"content")
    await age(store, file, 1)
    assert await are_here(alice, file) == [True]
    async with store.database.connection() as connection:
        now = await connection.fetchval("SELECT max(last_access_ts) FROM media")
    await expiry_of(store, now=now + int(LIFETIME_S * 1000)).expire()
    assert await are_here(alice, file) == [True]
    await expiry_of(store, now=now + int(LIFETIME_S * 1000) + 1).expire()
    assert await are_here(alice, file) == [False]


async def test_avatars_stay_while_they_are_some(store: Store, alice: Person) -> None:
    mine, former, of_room, other = [await uploaded(alice, name) for name in (b"a", b"b", b"c", b"d")]
    room_id = await alice.create_room()
    for file in (former, mine):
        await alice.put(f"profile/{quote(alice.user_id)}/avatar_url", {"avatar_url": f"mxc://{file}"})
    await alice.set_state(room_id, "m.room.avatar", {"url": f"mxc://{of_room}"})
    for file in (mine, former, of_room, other):
        await age(store, file, 1)
    await expiry_of(store).expire()
    assert await are_here(alice, mine, former, of_room, other) == [True, False, True, False]


@pytest.mark.parametrize(
    "url", ["", 5, None, "mxc://", f"mxc://{SERVER}/", f"mxc://{SERVER}/a/b", "http://x", {"a": 1}]
)
async def test_avatars_of_any_form_do_no_harm(store: Store, alice: Person, url: object) -> None:
    room_id = await alice.create_room()
    await alice.set_state(room_id, "m.room.avatar", {"url": url})
    file = await uploaded(alice, b"content")
    await age(store, file, 1)
    await expiry_of(store).expire()
    assert await are_here(alice, file) == [False]


async def test_many_uploads_expire_in_steps(store: Store, alice: Person) -> None:
    """Also behind more avatars than are looked at in one step."""
    async with store.database.transaction() as tx:
        await tx.execute(
            "INSERT INTO media (server_name, media_id, user_id, object_name, details, size_bytes, fingerprint, "
            "created_ts, last_access_ts) SELECT $1, 'file' || number, $2, 'ab/' || number, '', 1, '', 1, number "
            "FROM generate_series(1, $3) AS number",
            SERVER,
            alice.user_id,
            2 * MEDIA_PER_STEP + 10,
        )
    expiry = expiry_of(store)
    kept = {f"file{number}" for number in range(1, MEDIA_PER_STEP + 6)}
    while await expiry._step(NOW - int(LIFETIME_S * 1000), kept) == MEDIA_PER_STEP:
        pass
    async with store.database.connection() as connection:
        assert {row[0] for row in await connection.fetch("SELECT media_id FROM media")} == kept
