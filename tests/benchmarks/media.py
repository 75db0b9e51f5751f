"""Files of 100 MiB up and down, beside Synapse in the same run: ours encrypts them, Synapse keeps them as they are.

    python -m tests.benchmarks.media [--rounds 5] [--at-once 4]

Both are started here, each in processes of its own, and take turns. Synapse is in the extra `external`. The client is
one process of Python, which both wait for where they are fast.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from tests.durability.site import run_site
from tests.files import DOWNLOAD, MIB, UPLOAD
from tests.hospitals import Network
from tests.synapse.synapse_server import run_synapse

SIZE_BYTES = 100 * MIB
PIECE = bytes(range(256)) * 1024
CLIENT = "/_matrix/client/v3"


async def register(session: aiohttp.ClientSession, base_url: str) -> dict[str, str]:
    """The headers of a new account."""
    body = {"username": "bench", "password": "correct horse battery", "auth": {"type": "m.login.dummy"}}
    async with session.post(f"{base_url}{CLIENT}/register", json=body) as response:
        answer = await response.json()
        assert response.status == 200, answer
    return {"Authorization": f"Bearer {answer['access_token']}"}


async def pieces() -> AsyncIterator[bytes]:
    for _ in range(SIZE_BYTES // len(PIECE)):
        yield PIECE


async def upload(session: aiohttp.ClientSession, base_url: str, headers: dict[str, str]) -> str:
    length = {"Content-Length": str(SIZE_BYTES), "Content-Type": "application/octet-stream"}
    async with session.post(base_url + UPLOAD, data=pieces(), headers=headers | length) as response:
        answer = await response.json()
        assert response.status == 200, answer
    return str(answer["content_uri"]).removeprefix("mxc://")


async def download(session: aiohttp.ClientSession, base_url: str, headers: dict[str, str], file: str) -> None:
    got = 0
    async with session.get(f"{base_url}{DOWNLOAD}/{file}", headers=headers) as response:
        assert response.status == 200, await response.text()
        async for chunk in response.content.iter_any():
            got += len(chunk)
    assert got == SIZE_BYTES


async def measure(servers: dict[str, str], *, rounds: int, at_once: int) -> dict[str, dict[str, float]]:
    """MiB/s of each server, the median of the rounds."""
    figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(timeout=timeout, read_bufsize=2**20) as session:
        accounts = {name: await register(session, url) for name, url in servers.items()}
        for _ in range(rounds):
            for name, url in servers.items():
                for count in dict.fromkeys((1, at_once)):
                    began = time.perf_counter()
                    files = await asyncio.gather(*(upload(session, url, accounts[name]) for _ in range(count)))
                    between = time.perf_counter()
                    await asyncio.gather(*(download(session, url, accounts[name], file) for file in files))
                    ended = time.perf_counter()
                    mib = count * SIZE_BYTES / MIB
                    figures[name][f"up, {count} at once"].append(mib / (between - began))
                    figures[name][f"down, {count} at once"].append(mib / (ended - between))
    return {name: {what: statistics.median(each) for what, each in of.items()} for name, of in figures.items()}


def open_to_all(name: str) -> Path:
    """A folder that the embedded PostgreSQL, another user, may pass."""
    folder = Path(name)
    folder.chmod(0o711)
    return folder


async def compare(folder: Path, *, rounds: int, at_once: int) -> dict[str, dict[str, float]]:
    network = Network.of(folder, ["synapse.example"])
    with run_synapse(network, "synapse.example", folder / "synapse") as synapse:
        async with run_site(folder / "ours") as ours:
            servers = {"ours": ours.base_url, "synapse": synapse.base_url}
            return await measure(servers, rounds=rounds, at_once=at_once)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-once", type=int, default=4)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = await compare(open_to_all(name), rounds=arguments.rounds, at_once=arguments.at_once)
    for what in found["ours"]:
        mine, theirs = found["ours"][what], found["synapse"][what]
        print(f"{what:18} ours {mine:5.0f} MiB/s, Synapse {theirs:5.0f} MiB/s, ratio {mine / theirs:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
