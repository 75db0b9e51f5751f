"""What an authority publishes, over HTTP."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tim_server.services.directory_authority.publication import PublishedFile
from tim_server.web.authority_pages import AuthorityPages
from tim_server.web.connection import HttpServer

DIRECTORY = PublishedFile(content=b"a.b.c", media_type="application/jose", etag='"one"', version=7)
CRL = PublishedFile(content=b"\x30\x00", media_type="application/pkix-crl", etag='"two"')


@pytest.fixture(scope="module")
async def pages() -> AuthorityPages:
    return AuthorityPages({"/directory.jws": DIRECTORY, "/revoked.crl": CRL})


@pytest.fixture(scope="module")
async def session(pages: AuthorityPages) -> AsyncIterator[aiohttp.ClientSession]:
    server = HttpServer(pages.answer, connections_max=10)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
        yield session
    listening.close()
    server.pre_shutdown()
    await server.shutdown(1)


@pytest.mark.parametrize(
    ("path", "headers", "status", "body"),
    [
        ("/directory.jws", {}, 200, b"a.b.c"),
        ("/directory.jws?version=6", {}, 200, b"a.b.c"),
        ("/directory.jws?version=7", {}, 204, b""),
        ("/directory.jws?version=8", {}, 200, b"a.b.c"),  # a member is ahead, which it must notice
        ("/directory.jws?version=", {}, 200, b"a.b.c"),
        ("/directory.jws?version=07", {}, 200, b"a.b.c"),
        ("/directory.jws", {"If-None-Match": '"one"'}, 304, b""),
        ("/directory.jws", {"If-None-Match": '"zero", W/"one"'}, 304, b""),
        ("/directory.jws", {"If-None-Match": "*"}, 304, b""),
        ("/directory.jws", {"If-None-Match": '"two"'}, 200, b"a.b.c"),
        ("/revoked.crl", {}, 200, b"\x30\x00"),
        ("/revoked.crl?version=7", {}, 200, b"\x30\x00"),
        ("/health", {}, 200, b"ok\n"),
        ("/", {}, 404, b"not found\n"),
        ("/anchors.pem", {}, 404, b"not found\n"),
        ("/../root.key.pem", {}, 404, b"not found\n"),
        ("/%2e%2e/root.key.pem", {}, 404, b"not found\n"),
    ],
)
async def test_what_is_published_is_served(
    session: aiohttp.ClientSession, path: str, headers: dict[str, str], status: int, body: bytes
) -> None:
    async with session.get(path, headers=headers) as response:
        assert (response.status, await response.read()) == (status, body)


async def test_answers_say_what_they_are_and_which(session: aiohttp.ClientSession) -> None:
    async with session.get("/directory.jws") as response:
        assert response.headers["Content-Type"] == "application/jose"
        assert (response.headers["ETag"], response.headers["Cache-Control"]) == ('"one"', "no-cache")
    async with session.head("/revoked.crl") as response:
        assert (response.status, response.headers["Content-Length"], await response.read()) == (200, "2", b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_nothing_can_be_written(session: aiohttp.ClientSession, method: str) -> None:
    async with session.request(method, "/directory.jws", data=b"x") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


async def test_health_tells_when_renewing_fails(pages: AuthorityPages, session: aiohttp.ClientSession) -> None:
    pages.is_healthy = False
    async with session.get("/health") as response:
        assert response.status == 503
    async with session.get("/directory.jws") as response:
        assert response.status == 200
    pages.is_healthy = True
