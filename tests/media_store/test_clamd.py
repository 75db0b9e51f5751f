"""The protocol of clamd, spoken to a stand-in; the real one is in tests/scenarios/test_malware.py."""

import asyncio
import struct
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest

from tests.clamd import MALWARE, SIGNATURE, STREAM_BYTES_MAX, StandIn, run_stand_in
from tim_server.media_store.clamd import ANSWER_BYTES_MAX, NAME_LENGTH_MAX, Clamd, ScannerAway, ScanRefused


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    async with run_stand_in() as stand_in:
        yield stand_in


@pytest.fixture
def clamd(stand_in: StandIn) -> Clamd:
    return Clamd(Path(stand_in.place.removeprefix("unix:")))


async def pieces_of(*pieces: bytes) -> AsyncGenerator[bytes]:
    for piece in pieces:
        yield piece


@pytest.mark.parametrize(
    "pieces", [(), (b"",), (b"clean",), (b"cl", b"", b"ean"), (bytes(STREAM_BYTES_MAX // 2),) * 2], ids=len
)
async def test_what_is_clean_gets_there_whole(clamd: Clamd, stand_in: StandIn, pieces: tuple[bytes, ...]) -> None:
    assert await clamd.scan(pieces_of(*pieces)) is None
    assert stand_in.scanned == [b"".join(pieces)]


async def test_malware_is_told_by_its_name(clamd: Clamd) -> None:
    assert await clamd.scan(pieces_of(b"before", MALWARE[:5], MALWARE[5:], b"after")) == SIGNATURE


async def test_what_is_too_large_is_refused_before_all_is_sent(clamd: Clamd) -> None:
    sent = 0

    async def endless() -> AsyncGenerator[bytes]:
        nonlocal sent
        while True:
            sent += 100_000
            yield bytes(100_000)

    with pytest.raises(ScanRefused, match="size limit exceeded"):
        await clamd.scan(endless())
    assert sent < 3 * STREAM_BYTES_MAX


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (b"", ScannerAway),
        (b"stream: OK", ScannerAway),
        (b"\0", ScannerAway),
        (b"HTTP/1.1 400 Bad Request\r\n\0", ScannerAway),
        (b"stream: FOUND\0", ScannerAway),
        (b"x" * 2 * ANSWER_BYTES_MAX + b"\0", ScannerAway),
        (b"x" * 200 * ANSWER_BYTES_MAX, ScannerAway),
        (b"stream: Can't allocate memory ERROR\0", ScanRefused),
        (b"UNKNOWN COMMAND\0", ScannerAway),
    ],
    ids=range(9),
)
async def test_no_other_answer_counts_as_clean(
    clamd: Clamd, stand_in: StandIn, answer: bytes, raised: type[Exception]
) -> None:
    stand_in.answer = answer
    with pytest.raises(raised):
        await clamd.scan(pieces_of(b"clean"))


async def test_names_are_short_and_plain(clamd: Clamd, stand_in: StandIn) -> None:
    stand_in.answer = b"stream: " + b"\xff" * 1_000 + b" FOUND\0"
    assert await clamd.scan(pieces_of(b"x")) == "\ufffd" * NAME_LENGTH_MAX


async def test_nobody_listens(tmp_path: Path) -> None:
    for place in (tmp_path / "ctl", ("127.0.0.1", 1)):
        with pytest.raises(ScannerAway, match="can't be reached"):
            await Clamd(place).scan(pieces_of(b"x"))


async def test_who_resets_the_connection_found_nothing_clean() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(10)
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(1, 13, linger)  # SOL_SOCKET, SO_LINGER: close with a reset
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1") as server:
        clamd = Clamd(server.sockets[0].getsockname()[:2])
        with pytest.raises(ScannerAway, match="hangs up"):
            await clamd.scan(pieces_of(*[bytes(100_000)] * 100))


async def test_what_can_not_be_read_is_not_scanned(clamd: Clamd, stand_in: StandIn) -> None:
    async def broken() -> AsyncGenerator[bytes]:
        yield b"begin"
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await clamd.scan(broken())
    assert stand_in.scanned == []
