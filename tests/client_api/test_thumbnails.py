"""Images in other sizes.

Spec: https://spec.matrix.org/v1.19/client-server-api/#thumbnails
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.files import Download, download, uploaded
from tests.images import animation, image, opened, photo, plain_image, png_that_claims
from tests.people import Hospital, Person, run_hospital
from tim_server.storage.thumbnails import VARIANTS_MAX

THUMBNAIL = "/_matrix/client/v1/media/thumbnail"
PIXELS_MAX = 4_000_000
SOURCE_BYTES_MAX = 1_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="module")
async def clinic(tenant_dsn: str, folder: Path) -> AsyncIterator[Hospital]:
    media = {
        "thumbnail_pixels_max": PIXELS_MAX,
        "thumbnail_source_bytes_max": SOURCE_BYTES_MAX,
        "thumbnail_timeout_s": 5,
        "unauthenticated_downloads": True,
    }
    async with run_hospital(tenant_dsn, folder, media=media) as clinic:
        yield clinic


@pytest.fixture(scope="module")
async def alice(clinic: Hospital) -> Person:
    return await clinic.person()


async def thumbnail(
    person: Person,
    file: str,
    width: int = 96,
    height: int = 96,
    method: str = "scale",
    *,
    place: str = THUMBNAIL,
    **query: Any,
) -> Download:
    more = "".join(f"&{key}={value}" for key, value in query.items())
    return await download(person, f"{file}?width={width}&height={height}&method={method}{more}", place=place)


async def refused(person: Person, file: str, status: int, errcode: str) -> None:
    got = await thumbnail(person, file)
    assert (got.status, json.loads(got.body)["errcode"]) == (status, errcode), got


@pytest.mark.parametrize(
    ("asked", "method", "size"),
    [
        ((320, 240), "scale", (320, 240)),
        ((100, 100), "scale", (100, 75)),
        ((400, 40), "scale", (53, 40)),
        ((96, 96), "crop", (96, 96)),
        ((300, 100), "crop", (300, 100)),
        ((2_000, 2_000), "scale", (800, 600)),  # "Servers MUST NOT upscale thumbnails under any circumstance"
        ((2_000, 2_000), "crop", (600, 600)),
        ((100_000, 1), "scale", (1, 1)),
    ],
)
async def test_an_image_is_made_smaller_and_never_larger(
    alice: Person, asked: tuple[int, int], method: str, size: tuple[int, int]
) -> None:
    file = await uploaded(alice, image(800, 600), content_type="image/jpeg")
    for _ in range(2):  # made, and kept
        got = await thumbnail(alice, file, *asked, method)
        assert (got.status, got.headers["Content-Type"]) == (200, "image/jpeg")
        assert got.headers["Content-Disposition"] == "inline; filename=thumbnail.jpeg"
        assert got.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'; script-src 'none';")
        assert got.headers["X-Content-Type-Options"] == "nosniff"
        assert got.headers["Cache-Control"].startswith("private")
        assert opened(got.body).size == size


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "AVIF"])
async def test_these_formats_are_understood(alice: Person, kind: str) -> None:
    got = await thumbnail(alice, await uploaded(alice, image(kind=kind)))
    red, _, blue = opened(got.body).convert("RGB").getpixel((10, 30))
    assert red > 200 and blue < 60


async def test_what_can_be_seen_through_stays_so(alice: Person) -> None:
    got = await thumbnail(alice, await uploaded(alice, image(kind="PNG", mode="RGBA")))
    assert (got.headers["Content-Type"], opened(got.body).mode) == ("image/png", "RGBA")


@pytest.mark.parametrize(
    ("mode", "kind"), [("L", "PNG"), ("P", "PNG"), ("1", "PNG"), ("I;16", "PNG"), ("CMYK", "JPEG")]
)
async def test_images_of_other_colours_are_images_too(alice: Person, mode: str, kind: str) -> None:
    assert (await thumbnail(alice, await uploaded(alice, plain_image(mode, kind)))).status == 200


async def test_photos_are_turned_and_tell_no_place(alice: Person) -> None:
    got = await thumbnail(alice, await uploaded(alice, photo(400, 200)))
    seen = opened(got.body)
    assert seen.size == (48, 96)
    assert dict(seen.getexif()) == {} and b"planted" not in got.body


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
async def test_animations_move_where_that_is_asked_for(alice: Person, kind: str) -> None:
    file = await uploaded(alice, animation(kind=kind))
    moving = await thumbnail(alice, file, animated="true")
    assert moving.headers["Content-Type"] == "image/webp"
    assert (opened(moving.body).n_frames, opened(moving.body).size) == (3, (96, 48))
    for query in ({}, {"animated": "false"}):
        still = await thumbnail(alice, file, **query)
        assert getattr(opened(still.body), "n_frames", 1) == 1


async def test_what_does_not_move_is_still(alice: Person) -> None:
    got = await thumbnail(alice, await uploaded(alice, image()), animated="true")
    assert got.headers["Content-Type"] == "image/jpeg"


@pytest.mark.parametrize(
    "content",
    [b"", b"x" * 1000, b"<svg onload='alert(1)'/>", b"\xff\xd8\xff\xe0" + b"x" * 1000, image()[:50], b"GIF89a"],
)
async def test_what_is_no_image_is_refused(alice: Person, content: bytes) -> None:
    await refused(alice, await uploaded(alice, content, content_type="image/png"), 400, "M_UNKNOWN")


async def test_an_image_of_too_many_pixels_is_refused(alice: Person) -> None:
    await refused(alice, await uploaded(alice, png_that_claims(50_000, 50_000)), 413, "M_TOO_LARGE")
    await refused(alice, await uploaded(alice, image(2_001, 2_000, kind="PNG")), 413, "M_TOO_LARGE")
    assert (await thumbnail(alice, await uploaded(alice, image(2_000, 2_000, kind="PNG")))).status == 200


async def test_an_image_of_too_many_bytes_is_refused(alice: Person) -> None:
    await refused(alice, await uploaded(alice, image() + bytes(SOURCE_BYTES_MAX)), 413, "M_TOO_LARGE")


async def test_long_animations_stand_still(alice: Person) -> None:
    got = await thumbnail(alice, await uploaded(alice, animation(frames=150)), animated="true")
    assert (got.status, got.headers["Content-Type"]) == (200, "image/jpeg")


@pytest.mark.parametrize(
    "query", ["", "width=0&height=1", "width=-1&height=1", "width=x&height=1", "width=1&height=1&method=x"]
)
async def test_sizes_must_be_sizes(alice: Person, query: str) -> None:
    file = await uploaded(alice, image())
    assert (await download(alice, f"{file}?{query}", place=THUMBNAIL)).status == 400


async def test_thumbnails_take_an_account(clinic: Hospital, alice: Person) -> None:
    file = await uploaded(alice, image())
    async with clinic.session.get(f"{THUMBNAIL}/{file}?width=1&height=1") as response:
        assert response.status == 401


async def test_the_deprecated_endpoint_gives_them_where_it_may(alice: Person) -> None:
    got = await thumbnail(alice, await uploaded(alice, image()), place="/_matrix/media/v3/thumbnail")
    assert opened(got.body).size == (96, 72)


async def count(dsn: str, file: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(
            await connection.fetchval("SELECT count(*) FROM thumbnails WHERE media_id = $1", file.partition("/")[2])
        )
    finally:
        await connection.close()


async def test_who_asks_at_the_same_time_gets_the_same(alice: Person, tenant_dsn: str) -> None:
    file = await uploaded(alice, image())
    got = await asyncio.gather(*(thumbnail(alice, file) for _ in range(10)))
    assert {each.status for each in got} == {200} and len({each.body for each in got}) == 1
    assert await count(tenant_dsn, file) == 1


async def test_so_many_are_kept_and_others_made_anew(alice: Person, tenant_dsn: str) -> None:
    file = await uploaded(alice, image(100, 100))
    for side in range(10, 10 + VARIANTS_MAX + 3):
        assert opened((await thumbnail(alice, file, side, side)).body).size == (side, side)
    assert await count(tenant_dsn, file) == VARIANTS_MAX


async def test_thumbnails_are_sealed_too(alice: Person, folder: Path) -> None:
    def files() -> set[Path]:
        return {path for path in (folder / "media").rglob("*") if path.is_file()}

    file = await uploaded(alice, image())
    before = files()
    await thumbnail(alice, file)
    (path,) = files() - before
    assert b"JFIF" not in path.read_bytes()


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1"])
async def test_of_photos_in_heic_there_are_none(alice: Person, brand: bytes) -> None:
    """See docs/decisions/0023-photos-in-heic-are-not-decoded.md."""
    content = image(kind="AVIF").replace(b"ftypavif", b"ftyp" + brand).replace(b"av01", b"hvc1")
    file = await uploaded(alice, content, content_type="image/heic")
    got = await thumbnail(alice, file)
    assert (got.status, json.loads(got.body)["errcode"]) == (400, "M_UNKNOWN")
    whole = await download(alice, file)
    assert whole.body == content and whole.headers["Content-Disposition"].startswith("attachment")
