"""Files of 100 MiB up and down, beside Synapse in the same run: ours encrypts them, Synapse keeps them as they are.

    python -m tests.benchmarks.media [--rounds 5] [--at-once 4]

Both are started here, each in processes of its own, and take turns. Synapse is in the extra `external`. Told is also
how long a sync takes meanwhile. The client takes much less time than either server: threads that send what they have,
and read into the same memory over and over.
"""

import argparse
import asyncio
import http.client
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from urllib.parse import urlsplit

from tests.durability.site import run_site
from tests.files import DOWNLOAD, MIB, UPLOAD
from tests.hospitals import Network
from tests.synapse.synapse_server import run_synapse

SIZE_BYTES = 100 * MIB
PIECE = bytes(range(256)) * 4096
CLIENT = "/_matrix/client/v3"
PAUSE_S = 0.02

Figures = dict[str, list[float]]


@dataclass
class Server:
    """One of the two, with an account there. Figures are MiB/s by what was done, and ms that a sync took."""

    base_url: str
    token: str = ""
    since: str = ""
    figures: Figures = field(default_factory=lambda: defaultdict(list))

    @contextmanager
    def asked(self, method: str, path: str, **request: object) -> Iterator[http.client.HTTPResponse]:
        where = urlsplit(self.base_url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=300, blocksize=len(PIECE))
        connection.request(method, path, **request)  # type: ignore[arg-type]
        with connection.getresponse() as response:
            assert response.status == 200, response.read()
            yield response
        connection.close()

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def register(self) -> None:
        body = {"username": "bench", "password": "correct horse battery", "auth": {"type": "m.login.dummy"}}
        with self.asked("POST", f"{CLIENT}/register", body=json.dumps(body)) as response:
            self.token = json.load(response)["access_token"]
        self.sync()

    def sync(self) -> None:
        since = f"&since={self.since}" if self.since else ""
        with self.asked("GET", f"{CLIENT}/sync?timeout=0{since}", headers=self.headers) as response:
            self.since = json.load(response)["next_batch"]

    def upload(self) -> str:
        pieces = (PIECE for _ in range(SIZE_BYTES // len(PIECE)))
        length = {"Content-Length": str(SIZE_BYTES), "Content-Type": "application/octet-stream"}
        with self.asked("POST", UPLOAD, body=pieces, headers=self.headers | length) as response:
            return str(json.load(response)["content_uri"]).removeprefix("mxc://")

    def download(self, file: str) -> None:
        got, memory = 0, bytearray(MIB)
        with self.asked("GET", f"{DOWNLOAD}/{file}", headers=self.headers) as response:
            while count := response.readinto(memory):
                got += count
        assert got == SIZE_BYTES

    @contextmanager
    def syncing(self, when: str) -> Iterator[None]:
        """Sync over and over meanwhile."""
        is_over = Event()

        def go_on() -> None:
            while not is_over.wait(PAUSE_S):
                began = time.perf_counter()
                self.sync()
                self.figures[f"a sync, {when}"].append(1000 * (time.perf_counter() - began))

        thread = Thread(target=go_on)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def run(self, what: str, at_once: int, each: Callable[[int], object]) -> list[object]:
        began = time.perf_counter()
        with self.syncing(what), ThreadPoolExecutor(at_once) as threads:
            answers = list(threads.map(each, range(at_once)))
            took_s = time.perf_counter() - began
        self.figures[what].append(at_once * SIZE_BYTES / MIB / took_s)
        return answers

    def play(self, at_once: int) -> None:
        """One round."""
        with self.syncing("idle"):
            time.sleep(1)
        for count in dict.fromkeys((1, at_once)):
            files = self.run(f"up, {count} at once", count, lambda _: self.upload())
            self.run(f"down, {count} at once", count, lambda number: self.download(str(files[number])))  # noqa: B023


def measure(servers: list[Server], *, rounds: int, at_once: int) -> None:
    for server in servers:
        server.register()
    for _ in range(rounds):
        for server in servers:
            server.play(at_once)


def open_to_all(name: str) -> Path:
    """A folder that the embedded PostgreSQL, another user, may pass."""
    folder = Path(name)
    folder.chmod(0o711)
    return folder


async def compare(folder: Path, *, rounds: int, at_once: int) -> tuple[Figures, Figures]:
    network = Network.of(folder, ["synapse.example"])
    with run_synapse(network, "synapse.example", folder / "synapse") as synapse:
        async with run_site(folder / "ours") as ours:
            servers = [Server(ours.base_url), Server(synapse.base_url)]
            await asyncio.to_thread(measure, servers, rounds=rounds, at_once=at_once)
            return servers[0].figures, servers[1].figures


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-once", type=int, default=4)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = await compare(open_to_all(name), rounds=arguments.rounds, at_once=arguments.at_once)
    for what in found[0]:
        mine, theirs = (statistics.median(figures[what]) for figures in found)
        unit = "ms   " if "sync" in what else "MiB/s"
        print(f"{what:24} ours {mine:6.1f} {unit}, Synapse {theirs:6.1f} {unit}, ratio {mine / theirs:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
