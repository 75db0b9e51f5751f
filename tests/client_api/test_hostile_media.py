"""Bombs and lies: files that say to be something else, take more than they look like, or are called something evil.

Spec: https://spec.matrix.org/v1.19/client-server-api/#content-repository
"""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest
from yarl import URL

from tests.client_api.test_content_repo import raw_upload
from tests.files import DOWNLOAD, MIB, Download, download, uploaded
from tests.images import (
    animation,
    apng_that_claims,
    compressed_zeros,
    gif_of,
    image,
    jpeg_of_many_scans,
    opened,
    photo,
    png_that_claims,
    png_with,
    two_photos,
)
from tests.people import Hospital, Person, run_hospital

THUMBNAIL = "/_matrix/client/v1/media/thumbnail"
TIMEOUT_S = 3
HTML = b"<!DOCTYPE html><script>alert(document.domain)</script>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(2)</script></svg>'


@pytest.fixture(scope="module")
async def clinic(tenant_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hospital]:
    media = {"thumbnail_pixels_max": 4_000_000, "thumbnail_timeout_s": TIMEOUT_S, "upload_bytes_max": 20 * MIB}
    async with run_hospital(tenant_dsn, tmp_path_factory.mktemp("media"), media=media) as clinic:
        yield clinic


@pytest.fixture(scope="module")
async def alice(clinic: Hospital) -> Person:
    return await clinic.person()


@pytest.fixture(scope="module")
async def mallory(clinic: Hospital) -> Person:
    return await clinic.person()


async def thumbnail(person: Person, file: str, query: str = "width=96&height=96") -> Download:
    return await download(person, f"{file}?{query}", place=THUMBNAIL)


def is_harmless(got: Download) -> bool:
    """Whether a browser neither runs anything of it, nor takes it for something else, nor gives it to others."""
    policy = got.headers["Content-Security-Policy"]
    return (
        policy.startswith("sandbox;")
        and "default-src 'none'" in policy
        and "script-src 'none'" in policy
        and got.headers["X-Content-Type-Options"] == "nosniff"
        and got.headers["Cache-Control"].startswith("private")
        and got.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    )


@pytest.mark.parametrize(
    ("content", "content_type", "told", "disposition"),
    [
        (SVG, "image/svg+xml", "image/svg+xml", "attachment"),
        (SVG, "image/png", "image/png", "inline"),
        (HTML, "image/png", "image/png", "inline"),
        (HTML, "text/html", "text/html", "attachment"),
        (HTML, "text/plain; charset=utf-7", "text/plain; charset=utf-7", "inline"),
        (image(kind="GIF") + HTML, "text/html", "text/html", "attachment"),
        (HTML, "image/png; x=, text/html", "image/png", "inline"),
        (HTML, "image/png, text/html", "application/octet-stream", "attachment"),
        (HTML, 'image/png; x="a, text/html"', 'image/png; x="a, text/html"', "inline"),
        (HTML, "multipart/x-mixed-replace; boundary=x", "multipart/x-mixed-replace; boundary=x", "attachment"),
    ],
    ids=[
        "script in an SVG",
        "SVG as PNG",
        "HTML as PNG",
        "HTML",
        "HTML as text",
        "GIF that is HTML",
        "another type after a comma",
        "two types",
        "another type in quotes",
        "many pages",
    ],
)
async def test_lies_about_the_content_are_harmless(
    alice: Person, content: bytes, content_type: str, told: str, disposition: str
) -> None:
    file = await uploaded(alice, content, content_type=content_type)
    for asked, status in (({}, 200), ({"Range": "bytes=0-5"}, 206)):
        got = await download(alice, file, **asked)
        assert got.status == status and is_harmless(got)
        assert (got.headers["Content-Type"], got.headers["Content-Disposition"]) == (told, disposition)


async def test_a_header_can_not_be_smuggled_into_an_answer(clinic: Hospital, alice: Person) -> None:
    token = f"Authorization: Bearer {alice.token}\r\nContent-Length: 1"
    for content_type in (
        "text/plain\r\n\tx: y",
        "text/plain; x=\r\n Set-Cookie: a=b",
        "text/plain\0; x=y",
        "text/\x01",
    ):
        answer = await raw_upload(clinic, f"{token}\r\nContent-Type: {content_type}", b"x")
        if answer.startswith(b"HTTP/1.1 200"):
            uri = json.loads(answer.partition(b"\r\n\r\n")[2])["content_uri"]
            got = await download(alice, uri.removeprefix("mxc://"))
            assert got.headers["Content-Type"] in ("text/plain", "application/octet-stream")
        else:
            assert b" 400 " in answer.partition(b"\r\n")[0]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("..%2F..%2Fetc%2Fpasswd", "filename=.._.._etc_passwd"),
        ("..%5C..%5Cboot.ini", "filename=.._.._boot.ini"),
        ("a%0D%0ASet-Cookie:%20x=y", 'filename="a__Set-Cookie: x=y"'),
        ("%2E%2E", None),
        ("%252e%252e%252f", "filename*=utf-8''%252e%252e%252f"),
        ("%E2%80%AEgnp.exe", "filename=_gnp.exe"),
        ("%D8%AA.png", "filename*=utf-8''%D8%AA.png"),
        ("a%22;%20filename=b.exe", 'filename="a\\"; filename=b.exe"'),
    ],
)
async def test_a_name_that_is_asked_for_leads_nowhere_either(alice: Person, name: str, told: str | None) -> None:
    file = await uploaded(alice, b"x")
    headers = {"Authorization": f"Bearer {alice.token}"}
    async with alice.session.get(URL(f"{DOWNLOAD}/{file}/{name}", encoded=True), headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Disposition"] == ("attachment" if told is None else f"attachment; {told}")
        assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize("name", ["a%00.png", "%FF%FE.png", "%ED%A0%80.png"])
async def test_a_name_that_is_no_text_is_refused(alice: Person, name: str) -> None:
    file = await uploaded(alice, b"x")
    headers = {"Authorization": f"Bearer {alice.token}"}
    async with alice.session.get(URL(f"{DOWNLOAD}/{file}/{name}", encoded=True), headers=headers) as response:
        assert response.status == 400


@pytest.mark.parametrize("asked", ["bytes=" + "9" * 18 + "-", "bytes=" + "9" * 5_000 + "-", "bytes=٣-", "bytes=0-0\t,"])
async def test_ranges_of_strange_numbers_do_no_harm(alice: Person, asked: str) -> None:
    got = await download(alice, await uploaded(alice, b"0123456789"), Range=asked)
    assert got.status == 416 or (got.status, got.body) == (200, b"0123456789")


async def test_a_body_is_measured_after_it_is_unpacked(alice: Person) -> None:
    headers = {"Authorization": f"Bearer {alice.token}", "Content-Encoding": "gzip"}
    body = gzip.compress(bytes(40 * MIB), 1)
    assert len(body) < MIB
    async with alice.session.post("/_matrix/media/v3/upload", data=body, headers=headers) as response:
        assert (response.status, (await response.json())["errcode"]) == (413, "M_TOO_LARGE")


@pytest.mark.parametrize(
    "content",
    [
        png_that_claims(50_000, 50_000),
        png_that_claims(2**31 - 1, 1),
        b"RIFF\xff\xff\xff\xffWEBPVP8X\x0a\0\0\0\x02\0\0\0" + b"\xff" * 6,
        gif_of((65_000, 65_000)),
        gif_of((3_000, 3_000)),
    ],
    ids=["50,000 x 50,000", "wide", "a WebP", "a frame that is huge", "a frame that is too large"],
)
async def test_images_of_too_many_pixels_are_not_decoded(alice: Person, content: bytes) -> None:
    file = await uploaded(alice, content, content_type="image/png")
    got = await thumbnail(alice, file, "width=96&height=96&animated=true")
    assert (got.status, json.loads(got.body)["errcode"]) == (413, "M_TOO_LARGE")


@pytest.mark.parametrize(
    "content",
    [
        png_with(b"zTXt", b"a\0\0" + compressed_zeros(200_000_000)),
        png_with(b"iTXt", b"a\0\1\0\0\0" + compressed_zeros(200_000_000)),
        png_with(b"iCCP", b"a\0\0" + compressed_zeros(200_000_000)),
        image()[: len(image()) // 2],
        image(kind="PNG")[:-100],
        image(kind="WEBP")[:200],
        image(kind="AVIF")[:300],
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(1_000),
        b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(1_000),
        SVG,
        HTML,
        b"%PDF-1.7" + bytes(1_000),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (w) file",
        b"II*\0" + bytes(1_000),
    ],
    ids=[
        "packed text",
        "packed international text",
        "packed colours",
        "half a JPEG",
        "most of a PNG",
        "some of a WebP",
        "some of an AVIF",
        "no HEIC",
        "no AVIF",
        "SVG",
        "HTML",
        "PDF",
        "PostScript",
        "TIFF",
    ],
)
async def test_what_is_no_image_has_none_in_another_size(alice: Person, content: bytes) -> None:
    got = await thumbnail(alice, await uploaded(alice, content, content_type="image/png"))
    assert (got.status, json.loads(got.body)["errcode"]) == (400, "M_UNKNOWN")


@pytest.mark.parametrize(
    "content",
    [
        gif_of((1, 1), repeated=400_000),
        apng_that_claims(2**31 - 1),
        two_photos(),
        image(exif=b"Exif\0\0planted"),
        image(exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12" * 3_000),
        png_with(b"eXIf", b"planted"),
    ],
    ids=["a great many frames", "frames that are not there", "two photos", "no EXIF", "much EXIF", "no EXIF in PNG"],
)
async def test_what_is_strange_about_an_image_is_left_aside(alice: Person, content: bytes) -> None:
    got = await thumbnail(alice, await uploaded(alice, content), "width=96&height=96&animated=true")
    assert (got.status, got.headers["Content-Type"]) == (200, "image/jpeg")
    assert getattr(opened(got.body), "n_frames", 1) == 1 and b"planted" not in got.body


async def test_an_animation_that_lies_may_stand_still(alice: Person) -> None:
    file = await uploaded(alice, apng_that_claims(90))
    assert (await thumbnail(alice, file, "width=96&height=96&animated=true")).status == 400
    assert (await thumbnail(alice, file)).status == 200


@pytest.mark.parametrize("content", [image(), image(kind="PNG"), photo(), animation(kind="WEBP")])
async def test_what_hides_behind_an_image_is_not_in_its_thumbnail(alice: Person, content: bytes) -> None:
    file = await uploaded(alice, content + b"planted" + HTML + b"PK\x03\x04planted", content_type="image/png")
    got = await thumbnail(alice, file, "width=96&height=96&animated=true")
    assert got.status == 200 and is_harmless(got)
    assert b"planted" not in got.body and b"script" not in got.body
    assert got.headers["Content-Disposition"].startswith("inline; filename=thumbnail.")


@pytest.mark.parametrize(
    "query",
    [
        "width=100001&height=1",
        "width=1&height=99999999999999999999999",
        "width=1.5&height=1",
        "width=1e3&height=1",
        "width=NaN&height=1",
        "width=1&height=1&animated=perhaps",
        "width=1&height=1&timeout_ms=soon",
        "width=1&height=1&timeout_ms=1208925819614629174706176",
    ],
)
async def test_sizes_out_of_range_are_refused(alice: Person, query: str) -> None:
    got = await thumbnail(alice, await uploaded(alice, image()), query)
    assert got.status == 400


@pytest.mark.parametrize("timeout_ms", [-1, 0, 2**53 - 1])
async def test_waiting_times_out_of_range_do_no_harm(alice: Person, timeout_ms: int) -> None:
    file = await uploaded(alice, image())
    assert (await thumbnail(alice, file, f"width=9&height=9&timeout_ms={timeout_ms}")).status == 200
    assert (await download(alice, f"{file}?timeout_ms={timeout_ms}")).status == 200


async def test_images_that_take_too_long_hold_up_their_uploader_only(alice: Person, mallory: Person) -> None:
    bombs = [await uploaded(mallory, jpeg_of_many_scans(20_000 + number)) for number in range(4)]
    one, another = await uploaded(alice, image()), await uploaded(alice, image(kind="PNG"))
    began = time.monotonic()
    bombing = [asyncio.create_task(thumbnail(mallory, bomb, "width=1920&height=1920")) for bomb in bombs]
    await asyncio.sleep(0.2)
    seen = await thumbnail(alice, one)
    assert (seen.status, opened(seen.body).size) == (200, (96, 72))
    assert time.monotonic() - began < 2 * TIMEOUT_S, "waits for one of them at most"
    asked = time.monotonic()
    await alice.get("account/whoami")
    assert time.monotonic() - asked < 1
    assert (await thumbnail(alice, another)).status == 200
    assert time.monotonic() - began < len(bombs) * TIMEOUT_S, "and they are not all done before"
    for each in await asyncio.gather(*bombing):
        assert (each.status, json.loads(each.body)["errcode"]) == (400, "M_UNKNOWN")
    asked = time.monotonic()
    assert (await thumbnail(mallory, bombs[0], "width=1919&height=1919")).status == 400
    assert time.monotonic() - asked < 1, "what ended its process is not tried again in another size"


async def test_a_bomb_is_a_file_like_others_for_those_who_download_it(mallory: Person) -> None:
    content = png_that_claims(50_000, 50_000)
    assert (await download(mallory, await uploaded(mallory, content))).body == content


async def test_whoever_wants_many_thumbnails_keeps_nobody_else_waiting(
    clinic: Hospital, alice: Person, mallory: Person
) -> None:
    slow = await uploaded(mallory, image(2_000, 1_900, kind="PNG"), content_type="image/png")
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(clinic.session._base_url, connector=connector) as session:
        greedy = replace(mallory, session=session)
        many = [asyncio.create_task(thumbnail(greedy, slow, f"width=64&height={n}")) for n in range(1, 301)]
        await asyncio.sleep(0.5)
        started = time.monotonic()
        got = await thumbnail(alice, await uploaded(alice, image(), content_type="image/jpeg"))
        assert got.status == 200 and time.monotonic() - started < 5
        for each in many:
            each.cancel()
        await asyncio.gather(*many, return_exceptions=True)
