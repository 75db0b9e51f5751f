"""Files of servers that mean harm: nothing of what they send is kept, and they cost themselves only."""

import asyncio
import secrets

import pytest
from aiohttp import web

from tests.conftest import Neighbourhood
from tests.federation_api.remote_files import (
    GET_CONTENT,
    REMOTE_BYTES_MAX,
    REMOTE_TIMEOUT_S,
    Liar,
    NeverEnding,
    in_parts,
    kept_files,
    new_file,
    nothing_new,
    refused,
)
from tests.files import MIB, download, uploaded
from tests.peer import Peer
from tests.people import Person
from tim_server.services.fair_turns import FairTurns, OwnTurns
from tim_server.services.media.fetch import FETCHES_PER_SERVER_MAX

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


async def test_a_slow_server_is_the_same_however_its_name_is_written(alice: Person, peer: Peer) -> None:
    names = [f"{'peer'[:n]}{'peer'[n:].upper()}.example" for n in range(4)]
    slow = [
        asyncio.create_task(
            download(alice, new_file(peer, NeverEnding(b"x", 0.1)).replace("peer.example", names[n % len(names)]))
        )
        for n in range(FETCHES_PER_SERVER_MAX)
    ]
    await asyncio.sleep(0.5)
    waiting = asyncio.create_task(download(alice, new_file(peer, in_parts(b"content"))))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    assert {each.status for each in await asyncio.gather(*slow)} == {502}
    assert (await waiting).body == b"content"


async def test_many_files_are_fetched_at_once(alice: Person, bob: Person) -> None:
    files = [await uploaded(bob, secrets.token_bytes(10)) for _ in range(3 * FETCHES_PER_SERVER_MAX)]
    assert {each.status for each in await asyncio.gather(*(download(alice, file) for file in files))} == {200}


@pytest.fixture
def turns(neighbourhood: Neighbourhood) -> FairTurns:
    """Turns of the hospital that fetches, as they are meant to be once the test ends."""
    return neighbourhood.a.process.homeservers[0].homeserver.media_download.remote.turns


async def test_so_many_may_wait_for_a_server(
    alice: Person, peer: Peer, turns: FairTurns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns.of_others, "asked_max", 2)
    slow = [asyncio.create_task(download(alice, new_file(peer, NeverEnding(b"x", 0.1)))) for _ in range(2)]
    await asyncio.sleep(0.3)
    await refused(alice, new_file(peer, in_parts(b"content")), 429, "M_LIMIT_EXCEEDED")
    await asyncio.gather(*slow)


async def test_who_fetches_much_that_is_slow_keeps_others_from_nothing(
    neighbourhood: Neighbourhood, alice: Person, bob: Person, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = FairTurns(at_once_max=3, of_askers=OwnTurns(per_key_max=2, asked_max=4))
    monkeypatch.setattr(neighbourhood.a.process.homeservers[0].homeserver.media_download.remote, "turns", few)
    carol, file = await neighbourhood.a.person(), await uploaded(bob, b"content")
    slow = [asyncio.create_task(download(alice, new_file(peer, NeverEnding(b"x", 0.1)))) for _ in range(4)]
    await asyncio.sleep(0.3)
    assert (await download(carol, file)).body == b"content"
    await refused(alice, await uploaded(bob, b"more"), 429, "M_LIMIT_EXCEEDED")
    assert {each.status for each in await asyncio.gather(*slow)} == {502}


async def test_who_waits_for_a_turn_keeps_others_from_nothing(
    neighbourhood: Neighbourhood, alice: Person, bob: Person, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = FairTurns(at_once_max=3, of_askers=OwnTurns(per_key_max=1))
    monkeypatch.setattr(neighbourhood.a.process.homeservers[0].homeserver.media_download.remote, "turns", few)
    carol, place = await neighbourhood.a.person(), secrets.token_hex(8)
    peer.answers["GET", f"{GET_CONTENT}/{place}"] = in_parts(b"content")
    slow = asyncio.create_task(download(alice, new_file(peer, NeverEnding(b"x", 0.1))))
    await asyncio.sleep(0.3)
    waiting = asyncio.create_task(download(alice, f"peer.example/{place}"))
    await asyncio.sleep(0.3)
    assert (await download(carol, f"peer.example/{place}")).body == b"content" and not waiting.done()
    assert (await waiting).body == b"content"
    assert (await slow).status == 502
    assert len(peer.asked(f"{GET_CONTENT}/{place}")) == 1


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


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ("Content-Type: image/png; x=, text/html\r\n", ("image/png", "inline")),
        ("Content-Type: text/html\r\n", ("text/html", "attachment")),
        ("Content-Type: a\0b\r\nContent-Disposition: inline\r\n", ("application/octet-stream", "attachment")),
        (
            'Content-Type: image/svg+xml\r\nContent-Disposition: inline; filename="../../a\\"b"\r\n',
            ("image/svg+xml", 'attachment; filename=".._.._a\\"b"'),
        ),
        (
            "Content-Type: image/png\r\nContent-Disposition: inline; filename*=utf-8''a%0D%0ASet-Cookie:%20x\r\n",
            ("image/png", 'inline; filename="a__Set-Cookie: x"'),
        ),
    ],
    ids=["two types", "HTML", "no type", "a path", "two lines"],
)
async def test_what_it_says_of_a_file_is_made_harmless(
    alice: Person, peer: Peer, headers: str, told: tuple[str, str]
) -> None:
    got = await download(alice, new_file(peer, in_parts(b"<script>", headers=headers)))
    assert (got.status, got.headers["Content-Type"], got.headers["Content-Disposition"]) == (200, *told)
    assert got.headers["X-Content-Type-Options"] == "nosniff" and "Set-Cookie" not in got.headers


async def test_a_body_is_measured_after_it_is_unpacked(neighbourhood: Neighbourhood, alice: Person, peer: Peer) -> None:
    before, answer = kept_files(neighbourhood), in_parts(bytes(10 * REMOTE_BYTES_MAX))
    answer.enable_compression(web.ContentCoding.gzip)
    await refused(alice, new_file(peer, answer), 502, "M_TOO_LARGE")
    await nothing_new(neighbourhood, before)
