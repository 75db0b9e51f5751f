"""Files of other servers, in both directions."""

import asyncio
import secrets

import aiohttp
import pytest
from aiohttp import web

from tests.conftest import Neighbourhood
from tests.federation_api.remote_files import (
    GET_CONTENT,
    OLD_GET_CONTENT,
    in_parts,
    kept_files,
    new_file,
    refused,
)
from tests.files import MIB, announced, download, upload, uploaded
from tests.images import image, opened
from tests.peer import Asked, Peer
from tests.people import Person


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
