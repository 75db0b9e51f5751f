"""clamd: the real one with a signature of our own, and a stand-in that speaks its protocol as tests tell it."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.eventually import eventually

MALWARE = b"what our own signature finds"
SIGNATURE = "Tim.Test"
STREAM_BYTES_MAX = 2 * 2**20
CLEAN, TOO_LARGE = b"stream: OK\0", b"INSTREAM size limit exceeded. ERROR\0"


@dataclass
class StandIn:
    """Answers what is set, or as clamd would that knows of `MALWARE`; remembers the bytes of each scan."""

    place: str
    scanned: list[bytes]
    answer: bytes | None = None
    pause_s: float = 0.0
    at_once: int = 0
    at_once_most: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError, asyncio.IncompleteReadError):
            writer.write(await self._counted_answer_to(reader))
            await writer.drain()

    async def _counted_answer_to(self, reader: asyncio.StreamReader) -> bytes:
        self.at_once += 1
        self.at_once_most = max(self.at_once, self.at_once_most)
        try:
            return await self._answer_to(reader)
        finally:  # before it is sent, as the next may come once it has arrived
            self.at_once -= 1

    async def _answer_to(self, reader: asyncio.StreamReader) -> bytes:
        assert await reader.readexactly(10) == b"zINSTREAM\0"
        content = bytearray()
        while length := int.from_bytes(await reader.readexactly(4), "big"):
            if len(content) + length > STREAM_BYTES_MAX:
                return TOO_LARGE  # and hangs up, though there is more to come
            content += await reader.readexactly(length)
        self.scanned.append(bytes(content))
        await asyncio.sleep(self.pause_s)
        if self.answer is not None:
            return self.answer
        return f"stream: {SIGNATURE} FOUND\0".encode() if MALWARE in content else CLEAN


@asynccontextmanager
async def run_stand_in() -> AsyncIterator[StandIn]:
    """A stand-in on a socket in a folder with a short name, as such paths must be."""
    with tempfile.TemporaryDirectory(prefix="clamd-") as folder:
        path = Path(folder) / "ctl"
        stand_in = StandIn(f"unix:{path}", [])
        async with await asyncio.start_unix_server(stand_in.serve, path):
            yield stand_in


def find_clamd() -> str | None:
    """The program, if it is installed."""
    return shutil.which("clamd", path="/usr/sbin:/usr/local/sbin:/usr/bin:/opt/homebrew/sbin")


@asynccontextmanager
async def run_clamd(program: str, port: int | None = None) -> AsyncIterator[str]:
    """A real clamd that knows of `MALWARE` only; where it listens."""
    with tempfile.TemporaryDirectory(prefix="clamd-") as name:
        folder = Path(name)
        (folder / "signatures.ndb").write_text(f"{SIGNATURE}:0:*:{MALWARE.hex()}\n")
        socket = folder / "ctl"
        listening = f"LocalSocket {socket}" if port is None else f"TCPAddr 127.0.0.1\nTCPSocket {port}"
        config = folder / "clamd.conf"
        config.write_text(
            f"{listening}\nDatabaseDirectory {folder}\nAlertExceedsMax true\n"
            f"{'User root' if os.geteuid() == 0 else ''}\n"
            f"StreamMaxLength {STREAM_BYTES_MAX}\nMaxFileSize {STREAM_BYTES_MAX}\nMaxScanSize {STREAM_BYTES_MAX}\n"
        )
        process = await asyncio.create_subprocess_exec(
            program, "-F", "-c", config, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            await eventually(lambda: _listens(socket, port), bool)
            yield f"unix:{socket}" if port is None else f"127.0.0.1:{port}"
        finally:
            process.terminate()
            await process.wait()


async def _listens(socket: Path, port: int | None) -> bool:
    try:
        if port is None:
            _, writer = await asyncio.open_unix_connection(socket)
        else:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
