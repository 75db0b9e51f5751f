"""Two hospitals that fetch small files, and a foreign homeserver that gives them as a test tells it."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.conftest import Neighbourhood
from tests.eventually import eventually
from tests.files import MIB, download
from tests.hospitals import run_hospitals
from tests.peer import Peer, run_peer
from tests.people import Person

GET_CONTENT = "/_matrix/federation/v1/media/download"
OLD_GET_CONTENT = "/_matrix/media/v3/download"
REMOTE_BYTES_MAX = 3 * MIB
REMOTE_TIMEOUT_S = 2.0


@asynccontextmanager
async def run_neighbourhood(
    make_tenant_dsn: Callable[[], Awaitable[str]], folder: Path, **options_of_media: Any
) -> AsyncIterator[Neighbourhood]:
    """Hospitals that take small files of each other, and soon lose patience, and a peer. `options_of_media` are further
    ones of the first."""
    dsns = [await make_tenant_dsn(), await make_tenant_dsn()]
    media = {"remote_bytes_max": REMOTE_BYTES_MAX, "remote_timeout_s": REMOTE_TIMEOUT_S, **options_of_media}
    options, others = {"a.example": {"media": media}}, ["peer.example"]
    async with (
        run_hospitals(["a.example", "b.example"], dsns, folder, others=others, options=options) as (network, (a, b)),
        run_peer(network, "peer.example") as peer,
    ):
        yield Neighbourhood(network, a, b, peer)


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
