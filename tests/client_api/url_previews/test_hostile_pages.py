"""Web pages that mean harm: they reach nothing, cost little, and show nothing that is not text."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.images import image
from tests.people import Hospital, Person, run_hospital
from tests.table_dump import open_tables
from tests.web_site import (
    OTHER_ADDRESS,
    PAGE_BYTES_MAX,
    PREVIEW,
    TIMEOUT_S,
    WebSite,
    metas,
    no_preview,
    page,
    preview,
    redirect,
)
from tim_server.services.url_previews.preview import READING_TIMEOUT_S

MANY = 210


async def test_what_a_page_says_is_bounded_and_harmless(alice: Person, site: WebSite) -> None:
    site.pages["/long"] = page(
        metas(title="x" * 1_000, description="y" * 5_000, type="a\u202eb\0c&#8238;d", url="javascript:x")
    )
    told = await preview(alice, site.url("/long"))
    assert told == {"og:title": "x" * 299 + "…", "og:description": "y" * 999 + "…", "og:type": "abcd"}


async def test_of_a_large_page_the_beginning_is_read(alice: Person, site: WebSite) -> None:
    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/html"})
        await response.prepare(request)
        await response.write(metas(title="begins").encode())
        while True:
            await response.write(b"<p>text</p>" * 10_000)
            await asyncio.sleep(0)  # or what is written once the connection has ended fills all memory

    site.pages["/endless"] = endless
    assert await preview(alice, site.url("/endless")) == {"og:title": "begins"}


async def test_of_many_properties_the_first_are_read(alice: Person, site: WebSite) -> None:
    site.pages["/many"] = page("<meta>" * 1_000 + metas(title="late"))
    site.pages["/deep"] = page("<div>" * 3_000 + metas(title="deep"))
    assert await preview(alice, site.url("/many")) == {}
    assert await preview(alice, site.url("/deep")) == {"og:title": "deep"}


@pytest.mark.parametrize(
    "html", ["<!--", "<![", "<!DOCTYPE", "<title>", "<meta property='og:title' content='", "&#", "<"]
)
async def test_pages_that_do_not_end_do_no_harm(alice: Person, site: WebSite, html: str) -> None:
    path = f"/unended{len(html)}{html.strip('<!&#[-').partition(' ')[0]}"
    site.pages[path] = page(html * (PAGE_BYTES_MAX // len(html)))
    assert (await preview(alice, site.url(path))).keys() <= {"og:title"}


async def test_a_page_that_takes_long_to_read_ends_with_its_process(
    make_tenant_dsn, tmp_path: Path, site: WebSite
) -> None:
    site.pages["/trap"] = page("<!--" * 130_000)
    site.pages["/page"] = page(metas(title="x"))
    async with run_hospital(await make_tenant_dsn(), tmp_path, url_previews=site.options) as hospital:
        alice, bob = await hospital.person(), await hospital.person()
        trap = asyncio.create_task(preview(alice, site.url("/trap")))
        async with asyncio.timeout(3 * READING_TIMEOUT_S):
            await asyncio.sleep(0.2)
            assert await preview(bob, site.url("/page")) == {"og:title": "x"}
            assert await trap == {}


async def test_pages_learn_nothing_of_users(alice: Person, site: WebSite) -> None:
    async def asks(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "/then", "Set-Cookie": "a=b"})

    site.pages["/first"], site.pages["/then"] = asks, page(metas(title="x"))
    await preview(alice, site.url("/first#fragment"))
    for request in site.asked:
        assert request.headers.keys() == {"Host", "User-Agent", "Accept", "Accept-Encoding"}
        assert alice.user_id not in str(request.headers) and "fragment" not in str(request.url)


async def test_a_page_that_does_not_answer_is_given_up(alice: Person, site: WebSite) -> None:
    async def silent(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    async def drips(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/html"})
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.1)

    site.pages["/silent"], site.pages["/drips"] = silent, drips
    async with asyncio.timeout(3 * TIMEOUT_S):
        await asyncio.gather(*(no_preview(alice, site.url(path)) for path in site.pages))


PRIVATE = {
    "another address": "https://{other}:{port}/secret",
    "decimal": "https://2130706434:{port}/secret",
    "loopback": "https://[::1]:{port}/secret",
    "mapped": "https://[::ffff:127.0.0.2]:{port}/secret",
    "unspecified": "https://0.0.0.0:{port}/secret",
    "metadata": "https://169.254.169.254:{port}/latest/meta-data",
    "private": "https://10.0.0.1:{port}/",
    "another port": "https://localhost:1/secret",
    "no such host": "https://nothing.invalid:{port}/",
}


@pytest.mark.parametrize("kind", PRIVATE)
async def test_private_places_are_not_looked_at(alice: Person, site: WebSite, kind: str) -> None:
    site.pages["/secret"] = page(metas(title="secret"))
    target = PRIVATE[kind].format(port=site.port, other=OTHER_ADDRESS)
    told = await no_preview(alice, target)
    assert told == "There is no preview of this page", "nor is told whether there is something"
    path = f"/to-{kind.replace(' ', '-')}"
    site.pages[path] = redirect(target)
    assert await no_preview(alice, site.url(path)) == told
    site.pages[f"{path}-picture"] = page(metas(title="x", image=target))
    assert await preview(alice, site.url(f"{path}-picture")) == {"og:title": "x"}
    assert site.count("/secret") == 0


@pytest.mark.parametrize("target", ["file:///etc/passwd", "http://localhost/", "ftp://localhost/", "https://", "//["])
async def test_redirects_lead_to_pages_only(alice: Person, site: WebSite, target: str) -> None:
    path = f"/away{len(target)}"
    site.pages[path] = redirect(target)
    await no_preview(alice, site.url(path))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "/path",
        "https://",
        "https:///path",
        "https://user@localhost/",
        "https://user:password@localhost/",
        "ftp://localhost/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://localhost:99999/",
        "https://[::1/",
        "https://localhost/" + "x" * 2_048,
    ],
)
async def test_what_is_no_address_of_a_page_is_refused(alice: Person, url: str) -> None:
    await alice.refused(400, "M_INVALID_PARAM", "GET", PREVIEW, url=url)


async def test_who_asks_without_an_address_is_told(alice: Person) -> None:
    await alice.refused(400, "M_MISSING_PARAM", "GET", PREVIEW)


async def test_who_asks_for_slow_pages_waits_alone(alice: Person, bob: Person, site: WebSite) -> None:
    waiting = 0

    async def silent(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal waiting
        waiting += 1
        await asyncio.sleep(60)
        return web.Response()

    for number in range(4):
        site.pages[f"/slow{number}"] = silent
    site.pages["/fast"] = page(metas(title="x"))
    slow = [asyncio.create_task(no_preview(alice, site.url(f"/slow{number}"))) for number in range(4)]
    await asyncio.sleep(0.3)
    assert waiting == 2
    async with asyncio.timeout(TIMEOUT_S):
        assert await preview(bob, site.url("/fast")) == {"og:title": "x"}
    await asyncio.gather(*slow)


async def test_who_asks_for_many_slow_pages_keeps_others_from_none(
    clinic: Hospital, bob: Person, site: WebSite
) -> None:
    async def silent(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    paths = [f"/many{number}" for number in range(MANY)]
    site.pages |= {"/fast": page(metas(title="x")), **dict.fromkeys(paths, silent)}
    async with aiohttp.ClientSession(clinic.session._base_url, connector=aiohttp.TCPConnector(limit=0)) as session:
        greedy = replace(await clinic.person(), session=session)
        many = [asyncio.create_task(greedy.request("GET", PREVIEW, url=site.url(path))) for path in paths]
        await asyncio.sleep(1)
        assert await preview(bob, site.url("/fast")) == {"og:title": "x"}
        assert {each.result()[0] for each in many if each.done()} == {429}
        for each in many:
            each.cancel()
        await asyncio.gather(*many, return_exceptions=True)


async def test_what_users_refer_to_is_nowhere_to_be_read(
    make_tenant_dsn, tmp_path: Path, site: WebSite, capfd: pytest.CaptureFixture[str]
) -> None:
    site.pages["/planted"] = page(metas(title="planted", image="/planted.png", url="/planted"))
    site.pages["/planted.png"] = page(image() + b"planted", "image/jpeg")
    site.pages["/planted-loop"] = redirect("/planted-loop")
    dsn = await make_tenant_dsn()
    async with run_hospital(dsn, tmp_path, url_previews=site.options) as hospital:
        alice = await hospital.person()
        assert "og:image" in await preview(alice, site.url("/planted?planted=1"))
        for path in ("/planted-404", "/planted-loop"):
            assert "planted" not in await no_preview(alice, site.url(path))
        for url in ("https://planted.invalid:1/", "https://planted@x/", "gopher://planted"):
            assert "planted" not in json.dumps(await alice.request("GET", PREVIEW, url=url))
        async with open_tables(dsn) as tables:
            rows = await tables.dump()
    assert any(table == "url_previews" for table, _ in rows)
    told = "\n".join(row for _, row in rows)
    assert "planted" not in told and b"planted".hex() not in told
    written = capfd.readouterr()
    assert "preview_url" in written.err and "planted" not in written.err + written.out
    for path in (tmp_path / "media").rglob("*"):
        assert path.is_dir() or b"planted" not in path.read_bytes()
