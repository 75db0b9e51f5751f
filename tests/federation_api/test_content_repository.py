"""Files of other servers, in both directions."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.conftest import Neighbourhood
from tests.eventually import eventually
from tests.files import MIB, announced, download, upload, uploaded
from tests.hospitals import run_hospitals
from tests.images import image, opened
from tests.peer import Asked, Peer, run_peer
from tests.people import Person
from tim_server.services.media.fetch import FETCHES_PER_SERVER_MAX

GET_CONTENT = "/_matrix/federation/v1/media/download"
OLD_GET_CONTENT = "/_matrix/media/v3/download"
REMOTE_BYTES_MAX = 3 * MIB
REMOTE_TIMEOUT_S = 2.0


@pytest.fixture(scope="module")
async def neighbourhood(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Neighbourhood]:
    """Hospitals that take small files of each other, and soon lose patience."""
    dsns = [await make_tenant_dsn(), await make_tenant_dsn()]
    folder = tmp_path_factory.mktemp("neighbourhood")
    media = {"remote_bytes_max": REMOTE_BYTES_MAX, "remote_timeout_s": REMOTE_TIMEOUT_S}
    options = {"a.example": {"media": media}}
    async with (
        run_hospitals(["a.example", "b.example"], dsns, folder, others=["peer.example"], options=options) as (
            network,
            (a, b),
        ),
        run_peer(network, "peer.example") as peer,
    ):
        yield Neighbourhood(network, a, b, peer)


@pytest.fixture(scope="module")
async def alice(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.a.person()


@pytest.fixture(scope="module")
async def bob(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.b.person()


@pytest.fixture
def peer(neighbourhood: Neighbourhood) -> Peer:
    neighbourhood.peer.answers.clear()
    neighbourhood.peer.requests.clear()
    return neighbourhood.peer


def kept_files(neighbourhood: Neighbourhood) -> set[Path]:
    """What the first hospital keeps."""
    folder = neighbourhood.a.process.homeservers[0].homeserver.media_download.files.objects.folder
    return {path for path in folder.rglob("*") if path.is_file()}


async def nothing_new(neighbourhood: Neighbourhood, before: set[Path]) -> None:
    """What was begun is removed in the background."""

    async def now() -> set[Path]:
        return kept_files(neighbourhood)

    await eventually(now, lambda files: files == before)


def in_parts(
    content: bytes, *, headers: str = "Content-Type: image/png\r\n", boundary: str = "bnd", end: str = "\r\n--bnd--\r\n"
) -> web.Response:
    """A file as servers give it to each other."""
    body = (
        f"--bnd\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--bnd\r\n{headers}\r\n".encode()
        + content
        + end.encode()
    )
    return web.Response(body=body, headers={"Content-Type": f"multipart/mixed; boundary={boundary}"})


def new_file(peer: Peer, answer: Any) -> str:
    """A file of the peer, which answers so for it."""
    media_id = secrets.token_hex(8)
    peer.answers["GET", f"{GET_CONTENT}/{media_id}"] = answer
    return f"peer.example/{media_id}"


async def refused(person: Person, file: str, status: int, errcode: str) -> None:
    got = await download(person, file)
    assert (got.status, errcode in got.body.decode()) == (status, True), got


@pytest.mark.parametrize("size", [0, 1, 2 * MIB + 3])
async def test_a_file_of_another_hospital_is_downloaded(alice: Person, bob: Person, size: int) -> None:
    content = secrets.token_bytes(size)
    file = await uploaded(bob, content, content_type="image/jpeg", filename="Röntgen 1.jpg")
    for _ in range(2):
        got = await download(alice, file)
        assert (got.status, got.body, got.headers["Content-Type"]) == (200, content, "image/jpeg")
        assert got.headers["Content-Disposition"] == "inline; filename*=utf-8''R%C3%B6ntgen%201.jpg"


async def test_the_copy_is_sealed_and_asked_for_once(neighbourhood: Neighbourhood, alice: Person, peer: Peer) -> None:
    before = kept_files(neighbourhood)
    file = new_file(peer, in_parts(b"planted text " * 10_000))
    for asked in ("bytes=0-6", "bytes=8-11"):
        assert (await download(alice, file, Range=asked)).body in (b"planted", b"text")
    assert len(peer.asked(GET_CONTENT)) == 1
    assert peer.asked(GET_CONTENT)[0].headers["Authorization"].startswith("X-Matrix")
    (path,) = kept_files(neighbourhood) - before
    assert b"planted" not in path.read_bytes()


async def test_a_server_is_given_what_was_uploaded_here_only(
    neighbourhood: Neighbourhood, alice: Person, peer: Peer
) -> None:
    own = await uploaded(alice, b"x")
    others = new_file(peer, in_parts(b"x"))
    assert (await download(alice, others)).status == 200
    for media_id, status in ((others.partition("/")[2], 404), ("nothing", 404), ("a.b", 400)):
        assert (await peer.ask("a.example", "GET", f"{GET_CONTENT}/{media_id}"))[0] == status
    url = f"https://127.0.0.1:{neighbourhood.network.ports['a.example']}{GET_CONTENT}/{own.partition('/')[2]}"
    async with peer.session.get(url, headers={"Host": "a.example"}, server_hostname="a.example") as response:
        assert response.status == 401


async def test_a_server_is_given_two_parts(neighbourhood: Neighbourhood, alice: Person, peer: Peer) -> None:
    file = await uploaded(alice, b"0123456789" * 50_000, content_type="text/plain", filename="a.txt")
    path = f"{GET_CONTENT}/{file.partition('/')[2]}"
    headers = {"Authorization": peer.authorization("a.example", "GET", path), "Host": "a.example"}
    url = f"https://127.0.0.1:{neighbourhood.network.ports['a.example']}{path}"
    async with peer.session.get(url, headers=headers, server_hostname="a.example") as response:
        assert response.status == 200
        reader = aiohttp.MultipartReader.from_response(response)
        metadata = await reader.next()
        assert isinstance(metadata, aiohttp.BodyPartReader)
        assert (metadata.headers["Content-Type"], await metadata.json()) == ("application/json", {})
        content = await reader.next()
        assert isinstance(content, aiohttp.BodyPartReader)
        assert content.headers["Content-Disposition"] == "inline; filename=a.txt"
        assert await content.read() == b"0123456789" * 50_000
        assert await reader.next() is None


async def test_who_asks_at_the_same_time_waits_for_the_same_fetch(alice: Person, peer: Peer) -> None:
    async def slowly(_: Asked) -> web.Response:
        await asyncio.sleep(0.3)
        return in_parts(b"content")

    file = new_file(peer, slowly)
    got = await asyncio.gather(*(download(alice, file) for _ in range(10)))
    assert {each.body for each in got} == {b"content"}
    assert len(peer.asked(GET_CONTENT)) == 1


async def test_a_fetch_goes_on_when_who_asked_has_left(alice: Person, peer: Peer) -> None:
    async def slowly(_: Asked) -> web.Response:
        await asyncio.sleep(0.5)
        return in_parts(b"content")

    file = new_file(peer, slowly)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await download(alice, file)
    assert (await download(alice, file)).body == b"content"
    assert len(peer.asked(GET_CONTENT)) == 1


@pytest.mark.parametrize(
    ("answer", "status", "errcode"),
    [
        (web.json_response({"errcode": "M_NOT_FOUND"}, status=404), 404, "M_NOT_FOUND"),
        (web.json_response({"errcode": "M_FORBIDDEN"}, status=403), 403, "M_FORBIDDEN"),
        (web.json_response({"errcode": "M_UNKNOWN"}, status=500), 502, "M_UNKNOWN"),
        (web.json_response({"errcode": "M_TOO_LARGE"}, status=502), 502, "M_TOO_LARGE"),
        (web.json_response({"errcode": "M_NOT_YET_UPLOADED"}, status=504), 504, "M_NOT_YET_UPLOADED"),
        (web.Response(body=b"x" * 100_000, status=503), 502, "M_UNKNOWN"),
    ],
    ids=["no such file", "forbidden", "error", "too large", "not yet there", "no JSON"],
)
async def test_what_the_other_server_says_is_told(
    alice: Person, peer: Peer, answer: web.Response, status: int, errcode: str
) -> None:
    await refused(alice, new_file(peer, answer), status, errcode)


async def test_what_can_not_be_had_is_not_asked_for_again_at_once(alice: Person, peer: Peer) -> None:
    file = new_file(peer, web.json_response({"errcode": "M_NOT_FOUND"}, status=404))
    for _ in range(3):
        await refused(alice, file, 404, "M_NOT_FOUND")
    assert len(peer.asked(GET_CONTENT)) == 1


async def test_what_is_not_there_yet_is_asked_for_again(alice: Person, peer: Peer) -> None:
    file = new_file(peer, web.json_response({"errcode": "M_NOT_YET_UPLOADED"}, status=504))
    await refused(alice, file, 504, "M_NOT_YET_UPLOADED")
    peer.answers["GET", f"{GET_CONTENT}/{file.partition('/')[2]}"] = in_parts(b"there")
    assert (await download(alice, file)).body == b"there"


async def test_older_servers_are_asked_as_clients_once_did(alice: Person, peer: Peer) -> None:
    headers = {"Content-Type": "image/png", "Content-Disposition": 'attachment; filename="a b.png"'}
    peer.answers["GET", f"{OLD_GET_CONTENT}/peer.example/old"] = web.Response(body=b"content", headers=headers)
    got = await download(alice, "peer.example/old")
    assert (got.status, got.body, got.headers["Content-Type"]) == (200, b"content", "image/png")
    assert got.headers["Content-Disposition"] == 'inline; filename="a b.png"'
    assert peer.asked(OLD_GET_CONTENT)[0].query["allow_remote"] == "false"


# Hostile servers. Nothing of what they send is kept.

MALFORMED = {
    "no parts": web.Response(body=b"content", content_type="image/png"),
    "no boundary": web.Response(body=b"content", headers={"Content-Type": "multipart/mixed"}),
    "another boundary": in_parts(b"content", boundary="other"),
    "no end": in_parts(b"content", end=""),
    "cut off": in_parts(b"content" * 100_000, end="\r\n--bn"),
    "one part": web.Response(
        body=b"--bnd\r\n\r\n{}\r\n--bnd--\r\n", headers={"Content-Type": "multipart/mixed; boundary=bnd"}
    ),
    "no part": web.Response(body=b"--bnd--\r\n", headers={"Content-Type": "multipart/mixed; boundary=bnd"}),
    "three parts": in_parts(b"content", end="\r\n--bnd\r\n\r\nmore\r\n--bnd--\r\n"),
    "endless header": in_parts(b"", headers="X: " + "x" * 100_000),
    "many headers": in_parts(b"", headers="X: x\r\n" * 10_000),
    "many parts": in_parts(b"content", end="\r\n--bnd\r\n\r\nmore" * 1_000 + "\r\n--bnd--"),
    "redirect to nowhere": in_parts(b"", headers="Location: http://[\r\n"),
}


@pytest.mark.parametrize("kind", MALFORMED)
async def test_an_answer_that_is_not_as_it_should_be_is_no_file(
    neighbourhood: Neighbourhood, alice: Person, peer: Peer, kind: str
) -> None:
    before = kept_files(neighbourhood)
    got = await download(alice, new_file(peer, MALFORMED[kind]))
    assert got.status in (502, 403)
    await nothing_new(neighbourhood, before)


class NeverEnding(web.StreamResponse):
    """Begins as a file should, and goes on for as long as somebody reads."""

    def __init__(self, chunk: bytes, pause_s: float) -> None:
        super().__init__(headers={"Content-Type": "multipart/mixed; boundary=bnd"})
        self.chunk, self.pause_s, self.sent = chunk, pause_s, 0

    async def write_eof(self, data: bytes = b"") -> None:
        await self.write(b"--bnd\r\n\r\n{}\r\n--bnd\r\nContent-Type: image/png\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                await self.write(self.chunk)
                self.sent += len(self.chunk)
                await asyncio.sleep(self.pause_s)


class Liar(web.StreamResponse):
    """Announces more than it sends, then closes the connection."""

    def __init__(self) -> None:
        content = in_parts(b"content").body
        assert isinstance(content, bytes)
        self.content = content
        length = str(len(content) + 1000)
        super().__init__(headers={"Content-Type": "multipart/mixed; boundary=bnd", "Content-Length": length})

    async def write_eof(self, data: bytes = b"") -> None:
        await self.write(self.content[:-20])
        assert self._req is not None and self._req.transport is not None
        self._req.transport.close()


async def test_a_body_that_does_not_end_is_read_up_to_the_limit(
    neighbourhood: Neighbourhood, alice: Person, peer: Peer
) -> None:
    before, answer = kept_files(neighbourhood), NeverEnding(b"x" * 100_000, 0)
    await refused(alice, new_file(peer, answer), 502, "M_TOO_LARGE")
    assert answer.sent < 10 * REMOTE_BYTES_MAX  # sockets hold some megabytes themselves
    await nothing_new(neighbourhood, before)


async def test_a_body_that_comes_drop_by_drop_is_given_up(
    neighbourhood: Neighbourhood, alice: Person, peer: Peer
) -> None:
    before, answer = kept_files(neighbourhood), NeverEnding(b"x", 0.1)
    started = asyncio.get_running_loop().time()
    await refused(alice, new_file(peer, answer), 502, "M_UNKNOWN")
    assert asyncio.get_running_loop().time() - started < 3 * REMOTE_TIMEOUT_S
    await nothing_new(neighbourhood, before)


async def test_a_body_that_is_shorter_than_announced_is_no_file(
    neighbourhood: Neighbourhood, alice: Person, peer: Peer
) -> None:
    before = kept_files(neighbourhood)
    await refused(alice, new_file(peer, Liar()), 502, "M_UNKNOWN")
    await nothing_new(neighbourhood, before)


async def test_a_slow_server_holds_up_no_other(alice: Person, bob: Person, peer: Peer) -> None:
    """Who wants another file of the slow one waits for its turn."""
    slow = [
        asyncio.create_task(download(alice, new_file(peer, NeverEnding(b"x", 0.1))))
        for _ in range(FETCHES_PER_SERVER_MAX)
    ]
    await asyncio.sleep(0.5)
    waiting = asyncio.create_task(download(alice, new_file(peer, in_parts(b"content"))))
    assert (await download(alice, await uploaded(bob, b"content"))).body == b"content"
    assert not waiting.done()
    assert {each.status for each in await asyncio.gather(*slow)} == {502}
    assert (await waiting).body == b"content"


async def test_many_files_are_fetched_at_once(alice: Person, bob: Person) -> None:
    files = [await uploaded(bob, secrets.token_bytes(10)) for _ in range(3 * FETCHES_PER_SERVER_MAX)]
    assert {each.status for each in await asyncio.gather(*(download(alice, file) for file in files))} == {200}


async def test_so_many_may_wait_and_no_more(alice: Person, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tim_server.services.media.fetch.WAITING_PER_SERVER_MAX", 2)
    slow = [asyncio.create_task(download(alice, new_file(peer, NeverEnding(b"x", 0.1)))) for _ in range(2)]
    await asyncio.sleep(0.3)
    await refused(alice, new_file(peer, in_parts(b"content")), 429, "M_LIMIT_EXCEEDED")
    await asyncio.gather(*slow)


async def test_a_file_that_is_too_large_is_refused(neighbourhood: Neighbourhood, alice: Person, peer: Peer) -> None:
    before = kept_files(neighbourhood)
    await refused(alice, new_file(peer, in_parts(bytes(REMOTE_BYTES_MAX + 1))), 502, "M_TOO_LARGE")
    await refused(alice, new_file(peer, in_parts(bytes(REMOTE_BYTES_MAX + MIB))), 502, "M_TOO_LARGE")
    await nothing_new(neighbourhood, before)
    assert (await download(alice, new_file(peer, in_parts(bytes(REMOTE_BYTES_MAX))))).status == 200


@pytest.mark.parametrize(
    "location",
    [
        "https://127.0.0.1:{port}/file",
        "https://localhost:{port}/file",
        "https://[::1]:{port}/file",
        "https://169.254.169.254/latest/meta-data",
        "http://peer.example:{port}/file",
        "file:///etc/passwd",
        "/file",
    ],
)
async def test_a_redirect_leads_to_no_private_place(
    neighbourhood: Neighbourhood, alice: Person, peer: Peer, location: str
) -> None:
    location = location.format(port=neighbourhood.network.ports["peer.example"])
    file = new_file(peer, in_parts(b"", headers=f"Location: {location}\r\n"))
    got = await download(alice, file)
    assert got.status in (403, 502)
    assert peer.asked("/file") == []


async def test_a_redirect_within_the_server_is_followed(alice: Person, peer: Peer) -> None:
    headers = {"Content-Type": "image/png", "Content-Disposition": "inline; filename=a.png"}
    peer.answers["GET", "/file"] = web.Response(body=b"content", headers=headers)
    file = new_file(peer, in_parts(b"", headers="Location: https://peer.example/file\r\n"))
    got = await download(alice, file)
    assert (got.status, got.body, got.headers["Content-Type"]) == (200, b"content", "image/png")
    assert got.headers["Content-Disposition"] == "inline; filename=a.png"
    (asked,) = peer.asked("/file")
    assert "Authorization" not in asked.headers


async def test_what_is_announced_is_waited_for_across_servers(alice: Person, bob: Person) -> None:
    place = await announced(bob)
    got = await download(alice, f"{place}?timeout_ms=200")
    assert (got.status, "M_NOT_YET_UPLOADED" in got.body.decode()) == (504, True)
    waiting = asyncio.create_task(download(alice, place))
    await asyncio.sleep(0.3)
    assert (await upload(bob, b"content", place=place))[0] == 200
    assert (await asyncio.wait_for(waiting, 5)).body == b"content"


async def test_images_of_another_hospital_are_made_smaller(alice: Person, bob: Person) -> None:
    file = await uploaded(bob, image(200, 100), content_type="image/jpeg")
    got = await download(alice, f"{file}?width=50&height=50", place="/_matrix/client/v1/media/thumbnail")
    assert (got.status, opened(got.body).size) == (200, (50, 25))


async def test_a_server_is_given_smaller_images(alice: Person, peer: Peer, neighbourhood: Neighbourhood) -> None:
    file = await uploaded(alice, image(200, 100), content_type="image/jpeg")
    path = f"/_matrix/federation/v1/media/thumbnail/{file.partition('/')[2]}?width=50&height=50&method=crop"
    headers = {"Authorization": peer.authorization("a.example", "GET", path), "Host": "a.example"}
    url = f"https://127.0.0.1:{neighbourhood.network.ports['a.example']}{path}"
    async with peer.session.get(url, headers=headers, server_hostname="a.example") as response:
        reader = aiohttp.MultipartReader.from_response(response)
        metadata, content = await reader.next(), await reader.next()
        assert isinstance(metadata, aiohttp.BodyPartReader) and isinstance(content, aiohttp.BodyPartReader)
        assert content.headers["Content-Type"] == "image/jpeg"
        assert opened(bytes(await content.read())).size == (50, 50)
