"""The third act of the demonstration: somebody at a server that is not listed tries everything, and nothing works.

The stranger's server is a tim-server like the others, with a signing key and a certificate; its requests are real ones.
That ours never connect to it is seen at its door, where each connection is counted.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from rich.console import Console
from rich.table import Table

from tim_server.cli.demo_client import API, DemoClient, Json, download_path
from tim_server.cli.demo_conversation import expect
from tim_server.cli.demo_places import ADDRESS, Places
from tim_server.cli.demo_watch import Door

ADMIN = "/_tim-server/admin/v1/trust"
INCOMING = "incoming federation"
MALLORYS_ATTEMPTS = 5
ALICES_ATTEMPTS = 3
REFUSED_WAIT_S = 20.0
POLL_INTERVAL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """Mallory at the unlisted server; `it` is an administrator of the hospital that is tried, `door` that server's."""

    mallory: DemoClient
    it: DemoClient
    places: Places
    door: Door
    console: Console

    async def try_everything(self, alice: DemoClient, room_id: str, file_url: str) -> None:
        """Try to get in and to get out; raises `DemoFailed` where anything works."""
        await self._try_to_get_in(alice, room_id)
        await self._try_to_have(file_url)
        await self._try_to_be_reached(alice, room_id)
        await self._show_decisions()
        await self._show_door()

    async def _try_to_get_in(self, alice: DemoClient, room_id: str) -> None:
        mallory = self.mallory
        title = self.places.st_mary.title
        mallory.say(f"at {self.places.stranger.name}, which no directory lists, invites Alice.")
        async with self._refused("PUT", "/v2/invite/{roomId}/{eventId}"):
            await self._expect_refusal(mallory, "POST", f"{API}/createRoom", {"invite": [alice.user_id]})
        mallory.say("has learnt the room's id, and tries to join.")
        async with self._refused("GET", "/v1/make_join/{roomId}/{userId}"):
            path = f"{API}/join/{quote(room_id)}?via={self.places.st_mary.name}"
            await self._expect_refusal(mallory, "POST", path, {})
        mallory.say("asks for the keys of Alice's devices.")
        async with self._refused("POST", "/v1/user/keys/query"):
            answer = await mallory.call("POST", f"{API}/keys/query", {"device_keys": {alice.user_id: []}})
            expect("keys were given to the stranger", holds=not answer.get("device_keys", {}).get(alice.user_id))
        mallory.say(f"sends a message to Alice's devices: a transaction to {title}.")
        async with self._refused("PUT", "/v1/send/{txnId}"):
            await mallory.send_to_devices("m.room_key_request", {alice.user_id: {"*": {"action": "request"}}})

    async def _try_to_have(self, file_url: str) -> None:
        self.mallory.say("knows where the file is kept, and tries to have it.")
        async with self._refused("GET", "/v1/media/download/{mediaId}"):
            await self._expect_refusal(self.mallory, "GET", download_path(file_url))

    async def _try_to_be_reached(self, alice: DemoClient, room_id: str) -> None:
        alice.say("does not know better, and invites Mallory. Her own server says no, before anything is sent.")
        path = f"{API}/rooms/{quote(room_id)}/invite"
        await self._expect_refusal(alice, "POST", path, {"user_id": self.mallory.user_id})
        alice.say("looks for Mallory's profile, and for a file that is kept there.")
        await self._expect_refusal(alice, "GET", f"{API}/profile/{quote(self.mallory.user_id)}")
        await self._expect_refusal(alice, "GET", download_path(f"mxc://{self.places.stranger.name}/something"))

    @asynccontextmanager
    async def _refused(self, method: str, route: str) -> AsyncIterator[None]:
        """What is done inside makes the stranger's server ask the hospital so, and the hospital refuse it.

        Raises `DemoFailed` where its log does not say so.
        """
        log, place = self.places.st_mary.log, self.places.st_mary.title
        start = _size(log)
        yield
        refusal = f"method={method} route=/_matrix/federation{route} status=403 "
        deadline = asyncio.get_running_loop().time() + REFUSED_WAIT_S
        while refusal not in _read_from(log, start):
            what = f"{place} has not refused {method} {route}"
            expect(what, holds=asyncio.get_running_loop().time() < deadline)
            await asyncio.sleep(POLL_INTERVAL_S)
        self.mallory.show(f"The log of {place}: {method} /_matrix/federation{route} → 403")

    async def _decisions(self) -> list[Json]:
        query = {"server_name": str(self.places.stranger.name), "is_allowed": "false"}
        answer = await self.it.ask_quietly(f"{ADMIN}/decisions", query=query)
        decisions: list[Json] = answer["decisions"]
        return decisions

    async def _expect_refusal(self, client: DemoClient, method: str, path: str, body: Json | None = None) -> None:
        status, answer = await client.request(method, path, body)
        expect(f"{client.name} was not refused: {method} {path} → {status}", holds=status == 403)
        client.show(f"{answer.get('errcode')}: {answer.get('error')}")

    async def _show_decisions(self) -> None:
        name = self.places.stranger.name
        self.it.say("looks up what was refused, and why.")
        table = Table("where", "times", "reason")
        for decision in await self._wait_for_decisions():
            table.add_row(decision["point"], str(decision["times"]), decision["reason"])
        self.console.print(table)
        explained = await self.it.call("GET", f"{ADMIN}/servers/{name}")
        expect(f"{name} may talk to the hospital", holds=explained["is_allowed"] is False)
        for step in explained["steps"]:
            self.it.show(f"{step['looked_at']}: {step['found']}")
        servers = await self.it.call("GET", f"{ADMIN}/servers")
        for server in servers["servers"]:
            proved = server["certificate"]
            if proved is not None:
                serial = f"{proved['serial'][:16]}…"
                who = f"{server['server_name']} of {server['organisation_name']}"
                self.it.show(f"{who} is listed, and has proved itself with certificate {serial}")

    async def _wait_for_decisions(self) -> list[Json]:
        """All of them: they are written down soon, but not at once."""
        deadline = asyncio.get_running_loop().time() + REFUSED_WAIT_S
        while True:
            decisions = await self._decisions()
            times = Counter({each["point"]: each["times"] for each in decisions})
            if times[INCOMING] >= MALLORYS_ATTEMPTS and times.total() - times[INCOMING] >= ALICES_ATTEMPTS:
                return decisions
            expect("not all refusals were written down", holds=asyncio.get_running_loop().time() < deadline)
            await asyncio.sleep(POLL_INTERVAL_S)

    async def _show_door(self) -> None:
        """That nobody came, and that the door would have noticed."""
        name, came = self.places.stranger.name, self.door.connection_count
        self.console.print(f"\n[bold]Connections that anybody has opened to {name}: {came}[/]")
        expect(f"somebody has connected to {name}", holds=came == 0)
        _, writer = await asyncio.open_connection(ADDRESS, self.places.watched_port)
        writer.close()
        await asyncio.sleep(POLL_INTERVAL_S)
        expect("the door does not notice who connects", holds=self.door.connection_count == 1)
        self.console.print("    [green]The door notices whoever connects: one of our own, just now, was counted.[/]")


async def show_directory(it: DemoClient) -> None:
    """Wait until the administrator's hospital has the directory, as it fetches it when it starts, and show it."""
    it.say("looks whether the directory has come.")
    deadline = asyncio.get_running_loop().time() + REFUSED_WAIT_S
    while True:
        directory = (await it.ask_quietly(ADMIN))["directory"]
        if directory["version"] is not None:
            break
        expect(f"{it.name} has no directory: {directory['alarm']}", holds=asyncio.get_running_loop().time() < deadline)
        await asyncio.sleep(POLL_INTERVAL_S)
    it.show(f"Version {directory['version']} is in force and {directory['state']}: servers {directory['servers']}")


def _size(file: Path) -> int:
    return file.stat().st_size


def _read_from(file: Path, start: int) -> str:
    with file.open("rb") as opened:
        opened.seek(start)
        return opened.read().decode(errors="replace")
