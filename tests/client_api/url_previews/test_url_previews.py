"""Previews of web pages.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediapreview_url
"""

import asyncio
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from aiohttp import web

from tests.files import download
from tests.images import image, opened, photo, png_that_claims
from tests.people import Hospital, Person, run_hospital
from tests.web_site import (
    IMAGE_BYTES_MAX,
    KEPT_MAX,
    PAGE_BYTES_MAX,
    PREVIEW,
    WebSite,
    metas,
    no_preview,
    page,
    preview,
    redirect,
)
from tim_server.app.parts import now_ms
from tim_server.matrix.identifiers import ServerName
from tim_server.services.url_previews.expire import PreviewExpiry
from tim_server.storage.store import Store
from tim_server.trust.profiles import RULES, Profile

OLD_PREVIEW = "/_matrix/media/v3/preview_url"
DAY_MS = 86_400_000


async def test_a_page_is_shown_as_it_says(alice: Person, site: WebSite) -> None:
    properties = {"title": "Fish &amp; chips", "description": "How  to\n fry", "type": "article", "site_name": "Site"}
    site.pages["/fish"] = page(metas(**properties, locale="en_GB", url="/fish?lang=en", unknown="x"))
    assert await preview(alice, site.url("/fish")) == {
        "og:title": "Fish & chips",
        "og:description": "How to fry",
        "og:type": "article",
        "og:site_name": "Site",
        "og:locale": "en_GB",
        "og:url": site.url("/fish?lang=en"),
    }


async def test_what_is_not_said_is_taken_from_elsewhere(alice: Person, site: WebSite) -> None:
    site.pages["/old"] = page(
        "<html><head><title>A &lt;title&gt;</title><meta name=Description content='Some text'></head></html>"
    )
    assert await preview(alice, site.url("/old")) == {"og:title": "A <title>", "og:description": "Some text"}


async def test_what_says_nothing_has_an_empty_preview(alice: Person, site: WebSite) -> None:
    site.pages["/nothing"] = page("<p>text</p>")
    site.pages["/pdf"] = page(metas(title="x"), "application/pdf")
    site.pages["/text"] = page(metas(title="x"), "text/plain")
    for path in site.pages:
        assert await preview(alice, site.url(path)) == {}


async def test_the_picture_of_a_page_is_a_file_of_this_server(alice: Person, bob: Person, site: WebSite) -> None:
    site.pages["/page"] = page(metas(title="x", image="pictures/a.jpg?x=1", **{"image:width": "9", "image:alt": "A"}))
    site.pages["/pictures/a.jpg"] = page(photo(600, 300), "application/octet-stream")
    told = await preview(alice, site.url("/page"))
    assert told.keys() == {
        "og:title",
        "og:image",
        "og:image:alt",
        "og:image:type",
        "og:image:width",
        "og:image:height",
        "matrix:image:size",
    }
    got = await download(bob, told["og:image"].removeprefix("mxc://"))
    assert (got.status, got.headers["Content-Type"], len(got.body)) == (200, "image/jpeg", told["matrix:image:size"])
    assert opened(got.body).size == (told["og:image:width"], told["og:image:height"]) == (300, 600)
    assert b"planted" not in got.body, "it is made anew"


async def test_a_picture_is_its_own_preview(alice: Person, site: WebSite) -> None:
    site.pages["/a.png"] = page(image(800, 200, kind="PNG"), "image/png")
    told = await preview(alice, site.url("/a.png"))
    assert (told["og:image:width"], told["og:image:height"], told["og:image:type"]) == (800, 200, "image/jpeg")
    assert "og:title" not in told


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"<svg onload='alert(1)'/>", 200),
        (b"<html>", 200),
        (png_that_claims(50_000, 50_000), 200),
        (image(2_000, 2_000, kind="PNG"), 200),
        (image() + bytes(IMAGE_BYTES_MAX), 200),
        (image(), 404),
    ],
    ids=["SVG", "HTML", "a bomb", "too many pixels", "too large", "not there"],
)
async def test_a_page_whose_picture_is_none_is_shown_without(
    alice: Person, site: WebSite, content: bytes, status: int, request: pytest.FixtureRequest
) -> None:
    path = f"/{request.node.callspec.id.replace(' ', '-')}"
    site.pages[path] = page(metas(title="x", image="/picture", **{"image:alt": "A"}))
    site.pages["/picture"] = page(content, "image/png", status)
    assert await preview(alice, site.url(path)) == {"og:title": "x"}
    assert site.count("/picture") == 1


@pytest.mark.parametrize(
    ("html", "content_type", "title"),
    [
        ("<title>Ärzte</title>".encode(), "text/html", "Ärzte"),
        ("<title>Ärzte</title>".encode("latin-1"), "text/html", "Ärzte"),
        ("<title>Ärzte</title>".encode("latin-1"), "text/html; charset=ISO-8859-1", "Ärzte"),
        ("<title>€</title>".encode("cp1252"), "text/html; charset=latin1", "€"),
        ("<meta charset='koi8-r'><title>Врач</title>".encode("koi8-r"), "text/html", "Врач"),
        (
            "<meta http-equiv=content-type content='text/html; charset=Shift_JIS'><title>医</title>".encode(
                "shift_jis"
            ),
            "text/html",
            "医",
        ),
        ("\ufeff<title>Врач</title>".encode("utf-16-le"), "text/html; charset=koi8-r", "Врач"),
        ("<meta charset=utf-16><title>Ärzte</title>".encode(), "text/html", "Ärzte"),
        (b"<title>x\xff</title>", "text/html; charset=utf-8", "x\ufffd"),
        ("<title>Ärzte</title>".encode(), 'text/html; charset="utf-8"', "Ärzte"),
        ("<title>Ärzte</title>".encode(), "text/html; charset=punycode", "Ärzte"),
        ("<title>Ärzte</title>".encode(), "text/html; charset=rot13", "Ärzte"),
        ("<title>Ärzte</title>".encode(), "text/html; charset=nonsense", "Ärzte"),
        ("<title>Ärzte</title>".encode() + b"x" * (PAGE_BYTES_MAX - 23) + "ä".encode(), "text/html", "Ärzte"),
    ],
)
async def test_pages_are_read_in_their_encoding(
    alice: Person, site: WebSite, html: bytes, content_type: str, title: str
) -> None:
    path = f"/{abs(hash((html, content_type)))}"
    site.pages[path] = page(html, content_type)
    assert (await preview(alice, site.url(path)))["og:title"] == title


async def test_redirects_are_followed(alice: Person, site: WebSite) -> None:
    for number in range(5):
        site.pages[f"/{number}"] = redirect(f"/{number + 1}")
    site.pages["/5"] = page(metas(title="there", image="a.png"))
    site.pages["/a.png"] = redirect(site.url("/b.png", "127.0.0.1"))
    site.pages["/b.png"] = page(image(), "image/jpeg")
    told = await preview(alice, site.url("/0"))
    assert told["og:title"] == "there" and "og:image" in told
    site.pages["/more"] = redirect("/0")
    await no_preview(alice, site.url("/more"))


@pytest.mark.parametrize("status", [204, 403, 404, 500])
async def test_pages_that_are_not_there_have_no_preview(alice: Person, site: WebSite, status: int) -> None:
    site.pages[f"/{status}"] = page(metas(title="x"), status=status)
    for _ in range(2):
        await no_preview(alice, site.url(f"/{status}"))
    assert site.count(f"/{status}") == 1, "it is not asked again at once"


async def test_previews_are_kept_for_all(alice: Person, bob: Person, site: WebSite) -> None:
    site.pages["/kept"] = page(metas(title="first"))
    first = await preview(alice, site.url("/kept"))
    site.pages["/kept"] = page(metas(title="second"))
    assert await preview(bob, site.url("/kept#there")) == first == {"og:title": "first"}
    assert await alice.get(PREVIEW, url=site.url("/kept"), ts=1) == first
    assert await alice.get(OLD_PREVIEW, url=site.url("/kept")) == first
    assert site.count("/kept") == 1


async def test_addresses_without_tls_are_asked_with_it(alice: Person, site: WebSite) -> None:
    site.pages["/plain"] = page(metas(title="x"))
    assert await preview(alice, site.url("/plain").replace("https:", "http:")) == {"og:title": "x"}


async def test_who_asks_at_the_same_time_waits_for_the_same(alice: Person, bob: Person, site: WebSite) -> None:
    async def slowly(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(0.3)
        return page(metas(title="x"))

    site.pages["/slowly"] = slowly
    got = await asyncio.gather(*(preview(who, site.url("/slowly")) for who in (alice, bob) * 5))
    assert got == [{"og:title": "x"}] * 10
    assert site.count("/slowly") == 1


async def test_so_many_are_kept(alice: Person, site: WebSite, tenant_dsn: str, store: Store) -> None:
    for number in range(KEPT_MAX + 2):
        site.pages[f"/kept{number}"] = page(metas(title="x", image="/a.png"))
    site.pages["/a.png"] = page(image(), "image/jpeg")
    told = [await preview(alice, site.url(f"/kept{number}")) for number in range(KEPT_MAX + 2)]
    assert await _count(tenant_dsn, "url_previews") == KEPT_MAX
    await _expiry(store, now_in_ms=7_200_000).expire()
    status = [(await download(alice, each["og:image"].removeprefix("mxc://"))).status for each in told]
    assert status == [404] * 2 + [200] * KEPT_MAX


async def test_previews_expire_with_their_pictures(alice: Person, site: WebSite, tenant_dsn: str, store: Store) -> None:
    site.pages["/expiring"] = page(metas(title="x", image="/a.png"))
    site.pages["/a.png"] = page(image(), "image/jpeg")
    file = (await preview(alice, site.url("/expiring")))["og:image"].removeprefix("mxc://")
    thumbnail = await download(alice, f"{file}?width=9&height=9", place="/_matrix/client/v1/media/thumbnail")
    assert thumbnail.status == 200
    await _expiry(store, now_in_ms=DAY_MS).expire()
    assert await _count(tenant_dsn, "url_previews") == 0
    assert (await download(alice, file)).status == 200, "for those who have just been told of it"
    await _expiry(store, now_in_ms=DAY_MS + 3_700_000).expire()
    assert (await download(alice, file)).status == 404
    for table in ("url_preview_images", "media", "thumbnails"):
        assert await _count(tenant_dsn, table) == 0


def _expiry(store: Store, *, now_in_ms: int) -> PreviewExpiry:
    """As if so much time had passed."""
    server_name = ServerName("hospital.example")
    return PreviewExpiry(server_name=server_name, database=store.database, now_ms=lambda: now_ms() + now_in_ms)


async def _count(dsn: str, table: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))
    finally:
        await connection.close()


async def test_previews_take_an_account(clinic: Hospital, site: WebSite) -> None:
    for path in (PREVIEW, OLD_PREVIEW):
        async with clinic.session.get(path, params={"url": site.url("/")}) as response:
            assert response.status == 401
    assert site.asked == []


async def test_there_are_none_unless_configured(make_tenant_dsn, tmp_path: Path, site: WebSite) -> None:
    media = {"unauthenticated_downloads": True}
    async with run_hospital(await make_tenant_dsn(), tmp_path, media=media) as hospital:
        alice = await hospital.person()
        for path in (PREVIEW, OLD_PREVIEW):
            await alice.refused(404, "M_UNRECOGNIZED", "GET", path, url=site.url("/"))
    assert site.asked == []


async def test_there_are_none_where_the_profile_forbids_them(
    make_tenant_dsn, tmp_path: Path, site: WebSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RULES, Profile.OPEN, replace(RULES[Profile.OPEN], allows_url_previews=False))
    async with run_hospital(await make_tenant_dsn(), tmp_path, url_previews=site.options) as hospital:
        alice = await hospital.person()
        await alice.refused(404, "M_UNRECOGNIZED", "GET", PREVIEW, url=site.url("/"))
    assert site.asked == []


@pytest.mark.parametrize("chosen", [{"hosts_allowed": ["LOCALHOST"]}, {"hosts_denied": ["127.0.0.1"]}], ids=str)
async def test_hosts_can_be_chosen(
    make_tenant_dsn, tmp_path: Path, site: WebSite, chosen: dict[str, list[str]]
) -> None:
    previews = {**site.options, **chosen}
    site.pages["/"] = page(metas(title="x"))
    limits = {"preview_url": {"per_second": 0.01, "burst": 4}}
    async with run_hospital(await make_tenant_dsn(), tmp_path, url_previews=previews, rate_limits=limits) as hospital:
        alice = await hospital.person()
        assert await preview(alice, site.url("/")) == {"og:title": "x"}
        await no_preview(alice, site.url("/", "127.0.0.1"))
        assert len(site.asked) == 1
        await alice.refused(404, "M_UNRECOGNIZED", "GET", OLD_PREVIEW, url=site.url("/"))
        await preview(alice, site.url("/"))
        await alice.refused(429, "M_LIMIT_EXCEEDED", "GET", PREVIEW, url=site.url("/"))
