"""Copies of other servers' files go when nobody looks at them any more; what users have uploaded stays."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.services.media.policies import policy_of
from tim_server.matrix.identifiers import MediaId, ServerName, UserId
from tim_server.media_store.files import MediaFiles
from tim_server.media_store.folder import open_folder
from tim_server.media_store.thumbnails import Thumbnail
from tim_server.services.media.expire import GRACE_MS, MEDIA_PER_STEP, CopyExpiry
from tim_server.services.media.expire_thumbnails import ThumbnailExpiry
from tim_server.services.media.keep import ArrivingMedium, MediaKeeping
from tim_server.services.media.reap import LeftoverReaping
from tim_server.storage.codec import make_codec
from tim_server.storage.media import Medium, knows_medium, touch_medium
from tim_server.storage.media_removal import remove_media
from tim_server.storage.store import Store

CODEC = make_codec(bytes(32))
LIFETIME_S = 14 * 86_400.0
LIFETIME_MS = int(LIFETIME_S * 1000)
OURS, THEIRS = ServerName("hospital.example"), ServerName("other.example")
CONTENT = b"content"
THUMBNAIL = Thumbnail(content=b"smaller", content_type="image/png")


class Time:
    """A clock that stands still."""

    ms = 10**12

    def now(self) -> int:
        return self.ms


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def files(tmp_path: Path) -> MediaFiles:
    return MediaFiles(open_folder(tmp_path / "objects"))


@pytest.fixture
async def keeping(store: Store, files: MediaFiles, time: Time) -> MediaKeeping:
    async with store.database.transaction() as tx:
        await tx.execute("TRUNCATE media, thumbnails, media_leftovers")
    return MediaKeeping(writer=store.writer, codec=CODEC, files=files, now_ms=time.now)


def expiry_of(
    store: Store, time: Time, lifetime_s: float | None = LIFETIME_S, kept_bytes_max: int | None = None
) -> CopyExpiry:
    policy = policy_of(remote_lifetime_s=lifetime_s, remote_kept_bytes_max=kept_bytes_max)
    return CopyExpiry(database=store.database, policy=policy, now_ms=time.now)


async def keep(keeping: MediaKeeping, server_name: ServerName, media_id: str) -> Medium:
    async def pieces() -> AsyncIterator[bytes]:
        yield CONTENT

    arriving = ArrivingMedium(
        server_name=server_name,
        media_id=MediaId(media_id),
        user_id=UserId(f"@alice:{OURS}") if server_name == OURS else None,
        content_type="image/png",
        file_name=None,
        pieces=pieces(),
    )
    medium = await keeping.keep(arriving, timeout_s=10)
    assert medium is not None
    return medium


async def are_here(store: Store, *media: Medium) -> list[bool]:
    async with store.database.connection() as connection:
        return [await knows_medium(connection, each.server_name, each.media_id) for each in media]


async def test_copies_that_nobody_looks_at_expire(store: Store, keeping: MediaKeeping, time: Time) -> None:
    own, copy, looked_at = [await keep(keeping, *name) for name in ((OURS, "a"), (THEIRS, "b"), (THEIRS, "c"))]
    time.ms += LIFETIME_MS
    async with store.database.transaction() as tx:
        await touch_medium(tx, looked_at.server_name, looked_at.media_id, now=time.ms)
    await expiry_of(store, time).expire()
    assert await are_here(store, own, copy, looked_at) == [True, True, True]
    time.ms += 1
    await expiry_of(store, time).expire()
    assert await are_here(store, own, copy, looked_at) == [True, False, True]


async def test_their_bytes_and_thumbnails_go_a_little_later(
    store: Store, keeping: MediaKeeping, files: MediaFiles, time: Time
) -> None:
    async def on_disk() -> int:
        await LeftoverReaping(database=store.database, objects=files.objects, now_ms=time.now).reap()
        return sum(path.is_file() for path in files.objects.folder.rglob("*"))

    for server_name in (OURS, THEIRS):
        medium = await keep(keeping, server_name, "a")
        await keeping.keep_thumbnail(medium, "crop-96x96", THUMBNAIL, timeout_s=10)
    assert await on_disk() == 4
    time.ms += LIFETIME_MS + 1
    await expiry_of(store, time).expire()
    assert await on_disk() == 4
    time.ms += GRACE_MS
    assert await on_disk() == 2
    async with store.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM thumbnails") == 1


async def test_no_thumbnail_is_kept_of_what_is_gone(
    store: Store, keeping: MediaKeeping, files: MediaFiles, time: Time
) -> None:
    medium = await keep(keeping, THEIRS, "a")
    time.ms += LIFETIME_MS + 1
    await expiry_of(store, time).expire()
    await keeping.keep_thumbnail(medium, "crop-96x96", THUMBNAIL, timeout_s=10)
    async with store.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM thumbnails") == 0


async def test_many_copies_expire_in_steps(store: Store, keeping: MediaKeeping, time: Time) -> None:
    for number in range(MEDIA_PER_STEP + 1):
        await keep(keeping, THEIRS, str(number))
    time.ms += LIFETIME_MS + 1
    await expiry_of(store, time).expire()
    async with store.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM media") == 0


async def test_copies_may_be_kept_for_ever(store: Store, keeping: MediaKeeping, time: Time) -> None:
    copy = await keep(keeping, THEIRS, "a")
    time.ms += 100 * LIFETIME_MS
    await expiry_of(store, time, lifetime_s=None).expire()
    assert await are_here(store, copy) == [True]


async def test_copies_take_so_much_and_no_more(store: Store, keeping: MediaKeeping, time: Time) -> None:
    """Those that nobody has looked at for longest go; what users upload is not meant."""
    media = []
    for name in ((OURS, "own"), (THEIRS, "a"), (THEIRS, "b"), (THEIRS, "c"), (THEIRS, "d")):
        media.append(await keep(keeping, *name))
        time.ms += 1
    async with store.database.transaction() as tx:
        await touch_medium(tx, THEIRS, MediaId("b"), now=time.ms)
    for kept_bytes_max, here in (
        (None, [True, True, True, True, True]),
        (4 * len(CONTENT), [True, True, True, True, True]),
        (3 * len(CONTENT), [True, False, True, True, True]),
        (2 * len(CONTENT) - 1, [True, False, True, False, False]),
        (0, [True, False, False, False, False]),
    ):
        await expiry_of(store, time, kept_bytes_max=kept_bytes_max).shrink()
        assert await are_here(store, *media) == here


async def test_copies_go_in_steps_and_only_once(store: Store, keeping: MediaKeeping, time: Time) -> None:
    """Several processes remove no more than is enough."""
    for number in range(2 * MEDIA_PER_STEP + 20):
        await keep(keeping, THEIRS, str(number))
    expiry = expiry_of(store, time, kept_bytes_max=10 * len(CONTENT))
    await asyncio.gather(*(expiry.shrink() for _ in range(3)))
    async with store.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM media") == 10


def thumbnails_of(store: Store, time: Time, kept_bytes_max: int | None = None) -> ThumbnailExpiry:
    policy = policy_of(thumbnails_kept_bytes_max=kept_bytes_max)
    return ThumbnailExpiry(database=store.database, policy=policy, now_ms=time.now)


async def variants(store: Store) -> list[str]:
    async with store.database.connection() as connection:
        return [row[0] for row in await connection.fetch("SELECT variant FROM thumbnails ORDER BY created_ts")]


async def test_thumbnails_take_so_much_and_no_more(
    store: Store, keeping: MediaKeeping, files: MediaFiles, time: Time
) -> None:
    """Those that were made first go."""
    medium = await keep(keeping, OURS, "a")
    for variant in ("1", "2", "3", "4"):
        await keeping.keep_thumbnail(medium, variant, THUMBNAIL, timeout_s=10)
        time.ms += 1
    size = len(THUMBNAIL.content)
    for kept_bytes_max, left in (
        (None, ["1", "2", "3", "4"]),
        (4 * size, ["1", "2", "3", "4"]),
        (4 * size - 1, ["2", "3", "4"]),
        (size, ["4"]),
        (0, []),
    ):
        await thumbnails_of(store, time, kept_bytes_max).shrink()
        assert await variants(store) == left
    time.ms += GRACE_MS
    await LeftoverReaping(database=store.database, objects=files.objects, now_ms=time.now).reap()
    assert sum(path.is_file() for path in files.objects.folder.rglob("*")) == 1
    assert await are_here(store, medium) == [True]


async def test_a_thumbnail_that_is_made_while_its_file_is_removed_goes_too(
    store: Store, keeping: MediaKeeping, files: MediaFiles, time: Time
) -> None:
    removed, kept = await keep(keeping, THEIRS, "a"), await keep(keeping, OURS, "b")
    async with store.database.transaction() as tx:
        await remove_media(tx, [(removed.server_name, removed.media_id)], due_ts=time.ms)
        for medium in (removed, kept):
            await keeping.keep_thumbnail(medium, medium.media_id, THUMBNAIL, timeout_s=10)
    await thumbnails_of(store, time).remove_orphans()
    assert await variants(store) == ["b"]
    await LeftoverReaping(database=store.database, objects=files.objects, now_ms=time.now).reap()
    assert sum(path.is_file() for path in files.objects.folder.rglob("*")) == 2
