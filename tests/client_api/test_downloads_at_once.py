"""How many files somebody may be sent at once: whoever takes nothing of them holds little of the server's memory."""

import asyncio
import io
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from PIL import Image

from tests.files import DOWNLOAD, MIB, download, in_chunks, uploaded
from tests.people import SERVER, Hospital, Person, run_hospital

THUMBNAIL = "/_matrix/client/v1/media/thumbnail"
AT_ONCE = 3
PATIENCE_S = 0.5


@pytest.fixture(scope="module")
async def clinic(tenant_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hospital]:
    process = {"limits": {"downloads_under_way_per_user_max": AT_ONCE}}
    async with run_hospital(
        tenant_dsn, tmp_path_factory.mktemp("media"), process=process, media={"unauthenticated_downloads": True}
    ) as clinic:
        yield clinic


@pytest.fixture
async def alice(clinic: Hospital) -> Person:
    return await clinic.person()


@pytest.fixture
async def file(alice: Person) -> str:
    return await uploaded(alice, in_chunks(8 * MIB))


@asynccontextmanager
async def takes_nothing(
    clinic: Hospital, person: Person, file: str, *, place: str = DOWNLOAD, method: str = "GET"
) -> AsyncIterator[socket.socket]:
    """Who asks for a file and reads nothing of it, but that it begins."""
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.setblocking(False)
        await loop.sock_connect(connection, clinic.address)
        head = f"{method} {place}/{file} HTTP/1.1\r\nHost: {SERVER}\r\nAuthorization: Bearer {person.token}\r\n\r\n"
        await loop.sock_sendall(connection, head.encode())
        async with asyncio.timeout(5):
            assert (await loop.sock_recv(connection, 12)) == b"HTTP/1.1 200"
        yield connection


async def test_who_takes_nothing_is_sent_so_much_and_no_more(clinic: Hospital, alice: Person, file: str) -> None:
    bob = await clinic.person()
    async with AsyncExitStack() as stack:
        for _ in range(AT_ONCE):
            first = await stack.enter_async_context(takes_nothing(clinic, alice, file))
        waiting = asyncio.create_task(download(alice, file, Range="bytes=0-9"))
        await asyncio.sleep(PATIENCE_S)
        assert not waiting.done()
        async with asyncio.timeout(5):
            assert len((await download(bob, file)).body) == 8 * MIB
        first.close()
        async with asyncio.timeout(5):
            assert len((await waiting).body) == 10


async def test_so_many_may_wait(clinic: Hospital, alice: Person, file: str) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(AT_ONCE):
            await stack.enter_async_context(takes_nothing(clinic, alice, file))
        many = [asyncio.create_task(download(alice, file)) for _ in range(50)]
        await asyncio.sleep(PATIENCE_S)
        refused = [each for each in many if each.done()]
        assert refused and {each.result().status for each in refused} == {429}
        for each in many:
            each.cancel()
        await asyncio.gather(*many, return_exceptions=True)
    async with asyncio.timeout(5):
        assert (await download(alice, file)).status == 200


async def test_who_has_no_account_is_known_by_address(clinic: Hospital, alice: Person, file: str) -> None:
    old = "/_matrix/media/v3/download"
    async with AsyncExitStack() as stack:
        for _ in range(AT_ONCE):
            await stack.enter_async_context(takes_nothing(clinic, alice, file, place=old))
        waiting = asyncio.create_task(download(alice, file, place=old))
        await asyncio.sleep(PATIENCE_S)
        assert not waiting.done()
        assert (await download(alice, file)).status == 200
        waiting.cancel()


async def test_who_asks_for_headers_only_takes_no_turn(clinic: Hospital, alice: Person, file: str) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(2 * AT_ONCE):
            await stack.enter_async_context(takes_nothing(clinic, alice, file, method="HEAD"))
        async with asyncio.timeout(5):
            assert (await download(alice, file)).status == 200


async def test_who_takes_no_thumbnail_is_sent_so_many_and_no_more(clinic: Hospital, alice: Person) -> None:
    noise = Image.frombytes("RGBA", (1_800, 1_800), secrets.token_bytes(4 * 1_800 * 1_800))
    picture = io.BytesIO()
    noise.save(picture, "PNG", compress_level=1)
    asked = f"{await uploaded(alice, picture.getvalue(), content_type='image/png')}?width=1800&height=1800"
    whole = await download(alice, asked, place=THUMBNAIL)
    assert whole.status == 200 and len(whole.body) > 8 * MIB
    async with AsyncExitStack() as stack:
        for _ in range(AT_ONCE):
            first = await stack.enter_async_context(takes_nothing(clinic, alice, asked, place=THUMBNAIL))
        waiting = asyncio.create_task(download(alice, asked, place=THUMBNAIL))
        await asyncio.sleep(PATIENCE_S)
        assert not waiting.done()
        first.close()
        async with asyncio.timeout(5):
            assert (await waiting).body == whole.body
