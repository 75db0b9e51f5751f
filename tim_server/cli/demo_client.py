"""A Matrix client as small as can be, which prints each request it makes."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

import aiohttp
from rich.console import Console
from rich.markup import escape

from tim_server.cli.failures import CommandFailed

API = "/_matrix/client/v3"
MEDIA = "/_matrix/media/v3"
SYNC_TIMEOUT_MS = 30_000
SEGMENT_LENGTH_MAX = 22

Json = dict[str, Any]


class DemoFailed(CommandFailed):
    """The server did not answer as the specification says it should."""


@dataclass(slots=True, kw_only=True)
class DemoClient:
    """One account's client. `name` is how the account is called in what is printed."""

    name: str
    session: aiohttp.ClientSession
    console: Console
    user_id: str = ""
    device_id: str = ""
    access_token: str = ""
    since: str | None = None
    _transactions: int = field(default_factory=time.time_ns)

    def say(self, what: str) -> None:
        """Print what the account does next."""
        self.console.print(f"\n[bold]{self.name}[/] {escape(what)}")

    def show(self, what: str) -> None:
        """Print what came of it."""
        self.console.print(f"    [green]{escape(what)}[/]")

    async def request(
        self, method: str, path: str, body: Json | None = None, *, query: Mapping[str, str] | None = None
    ) -> tuple[int, Json]:
        """Status and body of the answer, whatever it is; the request is printed."""
        started = time.monotonic()
        status, answer = await self._ask(method, path, body, query)
        elapsed_ms = round((time.monotonic() - started) * 1000)
        self._print_request(method, path, f"{status} in {elapsed_ms} ms")
        return status, answer

    async def ask_quietly(self, path: str, *, query: Mapping[str, str] | None = None) -> Json:
        """The body of a GET's answer of status 200, without a word; raises `DemoFailed` for any other."""
        status, answer = await self._ask("GET", path, None, query)
        if status != 200:
            raise DemoFailed(f"GET {path} was answered with {status} {answer.get('errcode')}")
        return answer

    async def _ask(
        self, method: str, path: str, body: Json | None, query: Mapping[str, str] | None
    ) -> tuple[int, Json]:
        async with self._asked(method, path, json=body, params=query) as response:
            answer = await response.json(content_type=None)
            if not isinstance(answer, dict):
                raise DemoFailed(f"{method} {path} was answered with something else than a JSON object")
            return response.status, answer

    async def call(
        self, method: str, path: str, body: Json | None = None, *, query: Mapping[str, str] | None = None
    ) -> Json:
        """The body of an answer of status 200; raises `DemoFailed` for any other."""
        status, answer = await self.request(method, path, body, query=query)
        if status != 200:
            raise DemoFailed(
                f"{method} {path} was answered with {status} {answer.get('errcode')}: {answer.get('error')}"
            )
        return answer

    async def sign_in(self, username: str, password: str) -> None:
        """Register the account, or log in where a former run has registered it."""
        path, body = f"{API}/register", {"username": username, "password": password}
        status, answer = await self.request("POST", path, body)
        if status == 401 and "session" in answer:
            auth = {"type": "m.login.dummy", "session": answer["session"]}
            status, answer = await self.request("POST", path, {**body, "auth": auth})
        if status == 400 and answer.get("errcode") == "M_USER_IN_USE":
            login = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": username}}
            answer = await self.call("POST", f"{API}/login", {**login, "password": password})
        elif status != 200:
            raise DemoFailed(f"the account {username} could not be registered: {answer.get('error')}")
        self.user_id, self.device_id = answer["user_id"], answer["device_id"]
        self.access_token = answer["access_token"]

    async def send(self, room_id: str, content: Json, *, event_type: str = "m.room.message") -> str:
        """Send an event; its id."""
        path = f"{API}/rooms/{quote(room_id)}/send/{event_type}/{self._next_transaction()}"
        answer = await self.call("PUT", path, content)
        event_id: str = answer["event_id"]
        return event_id

    async def send_to_devices(self, event_type: str, messages: Json) -> None:
        """Send to devices: a content for each, by user and device id."""
        path = f"{API}/sendToDevice/{event_type}/{self._next_transaction()}"
        await self.call("PUT", path, {"messages": messages})

    async def upload(self, data: bytes) -> str:
        """Upload a file that says nothing about itself; its `mxc` address."""
        async with self._asked("POST", f"{MEDIA}/upload", data=data) as response:
            answer = await response.json(content_type=None)
            self._print_request("POST", f"{MEDIA}/upload", response.status)
            if response.status != 200:
                raise DemoFailed(f"the file could not be uploaded: {answer.get('error')}")
        url: str = answer["content_uri"]
        return url

    async def download(self, url: str) -> bytes:
        """A file, wherever it is kept; raises `DemoFailed` where it can't be had."""
        path = download_path(url)
        async with self._asked("GET", path) as response:
            data = await response.read()
            self._print_request("GET", path, response.status)
            if response.status != 200:
                raise DemoFailed(f"{url} could not be downloaded: {data[:200]!r}")
            return data

    async def sync(self, *, timeout_ms: int = 0) -> Json:
        """What is new since the last call; waits up to `timeout_ms` for something to happen."""
        query = {"timeout": str(timeout_ms)}
        if self.since is not None:
            query["since"] = self.since
        answer = await self.call("GET", f"{API}/sync", query=query)
        self.since = answer["next_batch"]
        return answer

    @asynccontextmanager
    async def _asked(self, method: str, path: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"Authorization": f"Bearer {self.access_token}"} if self.access_token else {}
        try:
            async with self.session.request(method, path, headers=headers, **options) as response:
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DemoFailed(f"{method} {path} was not answered: {error}") from None

    def _print_request(self, method: str, path: str, outcome: object) -> None:
        self.console.print(f"    {method} {_shortened(path)} → {outcome}", style="dim", markup=False)

    def _next_transaction(self) -> str:
        self._transactions += 1
        return f"demo{self._transactions}"


def download_path(url: str) -> str:
    """Where a client downloads what is at an `mxc` address."""
    return f"/_matrix/client/v1/media/download/{url.removeprefix('mxc://')}"


def _shortened(path: str) -> str:
    """The path as a person reads it: unquoted, long identifiers cut."""
    segments = [unquote(segment) for segment in path.split("/")]
    return "/".join(s if len(s) <= SEGMENT_LENGTH_MAX else s[: SEGMENT_LENGTH_MAX - 10] + "…" for s in segments)
