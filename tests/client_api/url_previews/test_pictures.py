"""Pictures of web pages are files of nobody: they have a lifetime and a bound, count towards no quota, are no uploads,
and are shown, withdrawn and deleted like other files. A preview goes with its picture.
"""

from collections.abc import AsyncIterator
from urllib.parse import quote

import asyncpg
import pytest

from tests.files import download
from tests.images import image
from tests.people import SERVER, Hospital, Person
from tests.services.media.policies import policy_of
from tests.web_site import WebSite, metas, page, preview
from tim_server.app.parts import now_ms
from tim_server.matrix.identifiers import UserId
from tim_server.services.media.expire import CopyExpiry
from tim_server.storage.media import sum_all_uploads, sum_copies, sum_uploads
from tim_server.storage.store import Store

ADMIN = "/_tim-server/admin/v1"
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
async def admin(clinic: Hospital, tenant_dsn: str) -> Person:
    person = await clinic.person()
    connection = await asyncpg.connect(tenant_dsn)
    await connection.execute("UPDATE users SET is_admin = true WHERE user_id = $1", person.user_id)
    await connection.close()
    return person


@pytest.fixture
async def picture(alice: Person, site: WebSite, store: Store) -> AsyncIterator[str]:
    """The picture of a page that alice has seen a preview of: server name and media id."""
    async with store.database.transaction() as tx:
        for table in ("url_previews", "url_preview_images", "media", "thumbnails", "quarantined_media"):
            await tx.execute(f"DELETE FROM {table}")
    site.pages["/page"] = page(metas(title="x", image="/a.png"))
    site.pages["/a.png"] = page(image(), "image/jpeg")
    yield await picture_told(alice, site)


async def picture_told(person: Person, site: WebSite) -> str:
    return str((await preview(person, site.url("/page")))["og:image"]).removeprefix("mxc://")


def expiry(store: Store, *, now_in_ms: int = 1_000, **limits: float) -> CopyExpiry:
    policy = policy_of(**limits)
    return CopyExpiry(database=store.database, policy=policy, now_ms=lambda: now_ms() + now_in_ms)


async def test_it_counts_towards_nobody_s_quota(alice: Person, admin: Person, picture: str, store: Store) -> None:
    async with store.database.connection() as connection:
        assert (await sum_uploads(connection, UserId(alice.user_id))).size_bytes == 0
        assert await sum_all_uploads(connection) == 0
        assert await sum_copies(connection) > 0, "it counts where its bound is"
    assert (await admin.get(f"{ADMIN}/users/{quote(alice.user_id)}/media"))["media"] == []
    path = f"{ADMIN}/users/{quote(alice.user_id)}/media"
    await admin.expect(200, "DELETE", path)
    assert (await download(alice, picture)).status == 200


async def test_it_goes_when_there_are_too_many_and_its_preview_too(
    alice: Person, bob: Person, picture: str, site: WebSite, store: Store
) -> None:
    async with store.database.connection() as connection:
        size_bytes = await sum_copies(connection)
    await expiry(store, remote_kept_bytes_max=size_bytes).shrink()
    assert await picture_told(bob, site) == picture and site.count("/page") == 1
    await expiry(store, remote_kept_bytes_max=size_bytes - 1).shrink()
    assert (await download(alice, picture)).status == 404
    another = await picture_told(bob, site)
    assert another != picture and site.count("/page") == 2
    assert (await download(alice, another)).status == 200


async def test_it_goes_when_nobody_has_looked_at_it_for_long(alice: Person, picture: str, store: Store) -> None:
    await expiry(store, remote_lifetime_s=3_600.0).expire()
    assert (await download(alice, picture)).status == 200
    await expiry(store, remote_lifetime_s=3_600.0, now_in_ms=DAY_MS).expire()
    assert (await download(alice, picture)).status == 404


async def test_administrators_see_and_delete_it(alice: Person, admin: Person, picture: str, site: WebSite) -> None:
    medium = (await admin.get(f"{ADMIN}/media/{picture}"))["medium"]
    assert (medium["user_id"], medium["file_name"], medium["server_name"]) == (None, None, SERVER)
    await admin.expect(200, "DELETE", f"{ADMIN}/media/{picture}")
    assert (await download(alice, picture)).status == 404
    assert (await download(alice, await picture_told(alice, site))).status == 200


async def test_it_goes_with_copies_and_not_with_uploads(alice: Person, admin: Person, picture: str) -> None:
    old = {"before_ts": now_ms() + DAY_MS}
    assert (await admin.post(f"{ADMIN}/media/delete_old", {"of": "uploads", **old}))["deleted"] == 0
    assert (await download(alice, picture)).status == 200
    assert (await admin.post(f"{ADMIN}/media/delete_old", {"of": "copies", **old}))["deleted"] == 1
    assert (await download(alice, picture)).status == 404


async def test_one_that_is_withdrawn_stays_so_when_it_is_made_anew(
    alice: Person, admin: Person, picture: str, site: WebSite
) -> None:
    await admin.put(f"{ADMIN}/media/{picture}/quarantine", {})
    assert (await download(alice, picture)).status == 404
    await admin.expect(200, "DELETE", f"{ADMIN}/media/{picture}")
    another = await picture_told(alice, site)
    assert another != picture and (await download(alice, another)).status == 404
