"""Uploading and downloading files."""

import asyncio
import hashlib
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from tests.client_api.test_suspended_account import suspended_person
from tests.eventually import eventually
from tests.files import DOWNLOAD, MIB, UPLOAD, download, in_chunks, upload, uploaded
from tests.images import image
from tests.objects import full_disk
from tests.people import Hospital, Person, run_hospital
from tests.table_dump import open_tables

UPLOAD_BYTES_MAX = 2 * MIB


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="module")
async def clinic(tenant_dsn: str, folder: Path) -> AsyncIterator[Hospital]:
    """A homeserver that takes small files."""
    media = {"upload_bytes_max": UPLOAD_BYTES_MAX, "upload_timeout_s": 2}
    async with run_hospital(tenant_dsn, folder, media=media) as clinic:
        yield clinic


@pytest.fixture(scope="module")
async def alice(clinic: Hospital) -> Person:
    return await clinic.person()


@pytest.fixture(scope="module")
async def bob(clinic: Hospital) -> Person:
    return await clinic.person()


def stored_files(folder: Path) -> set[Path]:
    return {path for path in (folder / "media").rglob("*") if path.is_file()}


async def files_now(folder: Path) -> set[Path]:
    return stored_files(folder)


async def nothing_new(folder: Path, before: set[Path]) -> None:
    """What was begun is removed in the background."""
    await eventually(lambda: files_now(folder), lambda files: files == before)


@pytest.mark.parametrize("size", [0, 1, 300_000, UPLOAD_BYTES_MAX])
async def test_what_one_uploads_others_download(alice: Person, bob: Person, size: int) -> None:
    content = secrets.token_bytes(size)
    file = await uploaded(alice, content, content_type="image/png", filename="scan.png")
    got = await download(bob, file)
    assert (got.status, got.body) == (200, content)
    assert got.headers["Content-Type"] == "image/png"
    assert got.headers["Content-Length"] == str(size)
    assert got.headers["Content-Disposition"] == "inline; filename=scan.png"


async def test_a_file_may_come_in_chunks_of_unknown_length(alice: Person) -> None:
    file = await uploaded(alice, in_chunks(700_001))
    assert len((await download(alice, file)).body) == 700_001


async def test_answers_are_safe_in_browsers(alice: Person) -> None:
    headers = (await download(alice, await uploaded(alice, b"x", content_type="text/html"))).headers
    assert headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'; script-src 'none';")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert headers["Cache-Control"].startswith("private")
    assert headers["Content-Disposition"] == "attachment"
    assert headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("content_type", "disposition"),
    [
        ("image/jpeg", "inline"),
        ("IMAGE/JPEG", "inline"),
        ("text/plain; charset=utf-8", "inline"),
        ("image/svg+xml", "attachment"),
        ("text/html", "attachment"),
        ("application/pdf", "attachment"),
        ("application/xhtml+xml", "attachment"),
    ],
)
async def test_only_types_that_run_nothing_are_inline(alice: Person, content_type: str, disposition: str) -> None:
    got = await download(alice, await uploaded(alice, b"<svg/>", content_type=content_type))
    assert got.headers["Content-Type"] == content_type
    assert got.headers["Content-Disposition"] == disposition


@pytest.mark.parametrize("content_type", ["nonsense", "image/", "x" * 300 + "/y", "text/plain, x/y"])
async def test_what_is_no_content_type_counts_as_bytes(alice: Person, content_type: str) -> None:
    got = await download(alice, await uploaded(alice, b"x", content_type=content_type))
    assert got.headers["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize("parameters", ["; x=ä", ";", "; charset", '; x="', "; x=a,b", "; x=y; z="])
async def test_parameters_that_are_none_are_left_out(alice: Person, parameters: str) -> None:
    got = await download(alice, await uploaded(alice, b"x", content_type=f"text/plain{parameters}"))
    assert got.headers["Content-Type"] == "text/plain"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("scan.png", "filename=scan.png"),
        ("scan 1.png", 'filename="scan 1.png"'),
        ('a"b\\c.png', 'filename="a\\"b_c.png"'),
        ("Röntgen.png", "filename*=utf-8''R%C3%B6ntgen.png"),
        ("../../etc/passwd", "filename=.._.._etc_passwd"),
        ("a\r\nSet-Cookie: x", 'filename="a__Set-Cookie: x"'),
        ("gpj.\u202eexe", "filename=gpj._exe"),
        ("ä" * 300, f"filename*=utf-8''{'%C3%A4' * 127}"),
    ],
)
async def test_names_are_kept_but_lead_nowhere(alice: Person, name: str, told: str) -> None:
    got = await download(alice, await uploaded(alice, b"x", filename=name))
    assert got.headers["Content-Disposition"] == f"attachment; {told}"


async def test_a_file_is_given_another_name_on_request(alice: Person) -> None:
    file = await uploaded(alice, b"x", content_type="text/plain", filename="old.txt")
    got = await download(alice, f"{file}/new.txt")
    assert got.headers["Content-Disposition"] == "inline; filename=new.txt"


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=262143-262144", 262_143, 262_144),
        ("bytes=299990-", 299_990, 299_999),
        ("bytes=-10", 299_990, 299_999),
        ("bytes=299999-999999", 299_999, 299_999),
    ],
)
async def test_a_range_of_a_file_is_a_part_of_it(alice: Person, asked: str, first: int, last: int) -> None:
    content = secrets.token_bytes(300_000)
    got = await download(alice, await uploaded(alice, content), Range=asked)
    assert (got.status, got.body) == (206, content[first : last + 1])
    assert got.headers["Content-Range"] == f"bytes {first}-{last}/300000"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=0-1", "bytes=", "bytes=-", "bytes=5-2", "bytes=x-y"])
async def test_ranges_that_are_not_understood_are_left_aside(alice: Person, asked: str) -> None:
    got = await download(alice, await uploaded(alice, b"0123456789"), Range=asked)
    assert (got.status, got.body) == (200, b"0123456789")


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=99999-999999", "bytes=-0"])
async def test_a_range_beyond_the_end_is_refused(alice: Person, asked: str) -> None:
    got = await download(alice, await uploaded(alice, b"0123456789"), Range=asked)
    assert (got.status, got.headers["Content-Range"]) == (416, "bytes */10")


async def test_a_range_of_another_file_is_not_given(alice: Person) -> None:
    file = await uploaded(alice, b"0123456789")
    tag = (await download(alice, file)).headers["ETag"]
    assert (await download(alice, file, Range="bytes=0-1", If_Range=tag)).status == 206
    assert (await download(alice, file, Range="bytes=0-1", If_Range='"other"')).status == 200


@pytest.mark.parametrize(
    ("known", "status"),
    [("{tag}", 304), ("W/{tag}", 304), ('"other", {tag}', 304), ("*", 304), ('"other"', 200), ("nonsense", 200)],
)
async def test_who_has_a_file_already_is_told_so(alice: Person, known: str, status: int) -> None:
    """RFC 9110, section 13.1.2."""
    file = await uploaded(alice, b"0123456789")
    first = await download(alice, file)
    again = await download(alice, file, If_None_Match=known.format(tag=first.headers["ETag"]), Range="bytes=20-")
    assert (again.status, again.body) == ((304, b"") if status == 304 else (416, b""))
    if status == 304:
        assert all(again.headers[name] == first.headers[name] for name in ("ETag", "Cache-Control"))


async def test_other_content_has_another_tag(alice: Person) -> None:
    files = [await uploaded(alice, content) for content in (b"one", b"one", b"two")]
    one, same, other = [(await download(alice, file)).headers["ETag"] for file in files]
    assert one == same != other


async def test_head_tells_the_size_only(alice: Person) -> None:
    got = await download(alice, await uploaded(alice, b"0123456789"), method="HEAD")
    assert (got.status, got.headers["Content-Length"], got.body) == (200, "10", b"")


async def test_files_take_an_account(clinic: Hospital, alice: Person) -> None:
    file = await uploaded(alice, b"x")
    paths = [
        ("GET", f"{DOWNLOAD}/{file}"),
        ("GET", f"{DOWNLOAD}/{file}/name"),
        ("POST", UPLOAD),
        ("PUT", f"{UPLOAD}/{file}"),
    ]
    paths += [("POST", "/_matrix/media/v1/create"), ("GET", "/_matrix/client/v1/media/config")]
    for method, path in paths:
        async with clinic.session.request(method, path) as response:
            assert (response.status, (await response.json())["errcode"]) == (401, "M_MISSING_TOKEN")


@pytest.mark.parametrize(
    ("file", "status"),
    [
        ("hospital.example/nothing", 404),
        ("hospital.example/..%2F..%2Fetc%2Fpasswd", 400),
        ("hospital.example/a.b", 400),
        ("..%2F/abc", 400),
        ("hospital.example/" + "a" * 256, 400),
    ],
)
async def test_what_is_no_file_is_not_found(alice: Person, file: str, status: int) -> None:
    headers = {"Authorization": f"Bearer {alice.token}"}
    async with alice.session.get(URL(f"{DOWNLOAD}/{file}", encoded=True), headers=headers) as response:
        assert response.status == status


async def test_the_name_of_this_server_may_be_written_otherwise(alice: Person) -> None:
    file = await uploaded(alice, b"content")
    assert (await download(alice, file.replace("hospital.example", "Hospital.EXAMPLE"))).body == b"content"


async def test_clients_are_told_the_limit(alice: Person) -> None:
    for path in ("/_matrix/client/v1/media/config", "/_matrix/media/v3/config"):
        assert await alice.get(path) == {"m.upload.size": UPLOAD_BYTES_MAX}


async def raw_upload(clinic: Hospital, headers: str, body: bytes = b"") -> bytes:
    """The head of the answer to an upload that is sent as far as `body` goes."""
    reader, writer = await asyncio.open_connection(*clinic.address)
    writer.write(f"POST {UPLOAD} HTTP/1.1\r\nHost: hospital.example\r\n{headers}\r\n\r\n".encode() + body)
    answer = await asyncio.wait_for(reader.readuntil(b"}"), 10)
    writer.close()
    return answer


async def test_what_is_announced_as_too_large_is_refused_unread(clinic: Hospital, alice: Person) -> None:
    length = UPLOAD_BYTES_MAX + 1
    answer = await raw_upload(clinic, f"Authorization: Bearer {alice.token}\r\nContent-Length: {length}")
    assert answer.startswith(b"HTTP/1.1 413") and b"M_TOO_LARGE" in answer


async def test_100_mb_and_what_encryption_adds_pass_unless_configured(hospital: Hospital) -> None:
    """What is announced as larger is refused at once, with nothing of it sent."""
    person = await hospital.person()
    assert await person.get("/_matrix/client/v1/media/config") == {"m.upload.size": 120 * MIB}
    answer = await raw_upload(hospital, f"Authorization: Bearer {person.token}\r\nContent-Length: {121 * MIB}")
    assert answer.startswith(b"HTTP/1.1 413") and b"M_TOO_LARGE" in answer


async def test_whoever_has_no_account_is_refused_unread(clinic: Hospital) -> None:
    answer = await raw_upload(clinic, "Authorization: Bearer nobody\r\nContent-Length: 1000000")
    assert answer.startswith(b"HTTP/1.1 401")


async def test_what_turns_out_too_large_is_refused_at_the_limit(alice: Person, folder: Path) -> None:
    before = stored_files(folder)
    status, answer = await upload(alice, in_chunks(UPLOAD_BYTES_MAX + 1))
    assert (status, answer["errcode"]) == (413, "M_TOO_LARGE")
    await nothing_new(folder, before)


async def test_an_upload_that_takes_too_long_is_given_up(alice: Person, folder: Path) -> None:
    async def drip() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 10_000
            await asyncio.sleep(0.1)

    before = stored_files(folder)
    status, answer = await upload(alice, drip())
    assert (status, answer["errcode"]) == (408, "M_UNKNOWN")
    await nothing_new(folder, before)


async def test_an_upload_that_is_broken_off_leaves_nothing(clinic: Hospital, alice: Person, folder: Path) -> None:
    before = stored_files(folder)
    _, writer = await asyncio.open_connection(*clinic.address)
    head = f"POST {UPLOAD} HTTP/1.1\r\nHost: hospital.example\r\nAuthorization: Bearer {alice.token}\r\n"
    writer.write(f"{head}Content-Length: 2000000\r\n\r\n".encode() + b"x" * 1_000_000)
    await writer.drain()
    await eventually(lambda: files_now(folder), lambda files: files != before)
    writer.transport.abort()
    await nothing_new(folder, before)


async def test_a_full_disk_breaks_nothing(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    with full_disk(monkeypatch):
        status, answer = await upload(alice, b"content")
        assert (status, answer["errcode"]) == (507, "M_UNKNOWN")
    assert (await download(alice, await uploaded(alice, b"content"))).body == b"content"


async def test_files_and_database_hold_nothing_of_the_content(alice: Person, folder: Path, tenant_dsn: str) -> None:
    planted, name, kind = "planted-diagnosis", "planted-name.txt", "text/planted-type"
    content = (planted * 20_000).encode()
    file = await uploaded(alice, content, content_type=kind, filename=name)
    assert (await download(alice, file)).body == content
    assert all(planted.encode() not in path.read_bytes() for path in stored_files(folder))
    async with open_tables(tenant_dsn) as tables:
        told = "\n".join(row for _, row in await tables.dump())
    assert file.partition("/")[2] in told
    hashes = [hashlib.new(kind_of_hash, content).hexdigest() for kind_of_hash in ("sha256", "sha1", "md5")]
    for text in (planted, name, kind, *hashes):
        assert text not in told and text.encode().hex() not in told


async def test_what_was_altered_on_disk_is_never_served(alice: Person, folder: Path) -> None:
    before = stored_files(folder)
    file = await uploaded(alice, secrets.token_bytes(UPLOAD_BYTES_MAX))
    (path,) = stored_files(folder) - before
    stored = path.read_bytes()
    path.write_bytes(stored[1:])
    got = await download(alice, file)
    assert (got.status, json.loads(got.body)["errcode"]) == (500, "M_UNKNOWN")
    path.write_bytes(stored[:-1])  # the beginning is there, so the answer begins, but is never complete
    with pytest.raises(aiohttp.ClientError):
        await download(alice, file)


async def test_a_suspended_user_uploads_nothing_but_downloads(clinic: Hospital, alice: Person, tenant_dsn: str) -> None:
    room_id = await alice.create_room()
    suspended, _ = await suspended_person(clinic, tenant_dsn, room_id, alice)
    status, answer = await upload(suspended, b"x")
    assert (status, answer["errcode"]) == (403, "M_USER_SUSPENDED")
    assert (await download(suspended, await uploaded(alice, b"x"))).status == 200


@pytest.mark.parametrize("path", ["download/{}", "download/{}/a.jpg", "thumbnail/{}?width=1&height=1"])
async def test_files_are_not_public_unless_configured(clinic: Hospital, alice: Person, path: str) -> None:
    file = await uploaded(alice, image(), content_type="image/jpeg")
    async with clinic.session.get(f"/_matrix/media/v3/{path.format(file)}") as response:
        assert (response.status, (await response.json())["errcode"]) == (404, "M_NOT_FOUND")


async def test_deprecated_downloads_can_be_switched_on(make_tenant_dsn, tmp_path: Path) -> None:
    options = {"media": {"unauthenticated_downloads": True}}
    async with run_hospital(await make_tenant_dsn(), tmp_path, **options) as hospital:
        file = await uploaded(await hospital.person(), b"x", filename="a.bin")
        for path, name in ((file, "a.bin"), (f"{file}/b.bin", "b.bin")):
            async with hospital.session.get(f"/_matrix/media/v3/download/{path}") as response:
                assert (response.status, await response.read()) == (200, b"x")
                assert response.headers["Content-Disposition"] == f"attachment; filename={name}"
