"""The Client-Server API as a client uses it that keeps its head: what gets no answer, or a 503, it asks again."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp

CLIENT = "/_matrix/client/v3"
REQUEST_TIMEOUT_S = 60.0
PATIENCE_S = 90.0
RETRY_INTERVAL_S = 0.1


class Away(Exception):
    """No answer, or 503 M_UNKNOWN: the client may ask again."""


@dataclass(eq=False)
class Api:
    """Requests of any account; counts what was not answered."""

    session: aiohttp.ClientSession
    unanswered: int = 0
    unavailable: int = 0
    slowest_503_s: float = 0.0
    base_url: str = ""

    async def call(self, token: str | None, method: str, path: str, body: Any = None, **query: object) -> Any:
        """The JSON of an answer with status 200; raises `Away`. Any other answer fails the test."""
        began = asyncio.get_running_loop().time()
        status, answer = await self.request(token, method, path, body, **query)
        if status == 503 and answer.get("errcode") == "M_UNKNOWN":
            self.unavailable += 1
            self.slowest_503_s = max(self.slowest_503_s, asyncio.get_running_loop().time() - began)
            raise Away(answer["error"])
        assert status == 200, (method, path, status, answer)
        return answer

    async def request(self, token: str | None, method: str, path: str, body: Any = None, **query: object) -> Any:
        """Status and JSON of an answer; raises `Away` where there is none."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        params = {key.rstrip("_"): str(value) for key, value in query.items() if value is not None}
        try:
            async with self.session.request(
                method, self.base_url + CLIENT + path, json=body, params=params, headers=headers
            ) as response:
                return response.status, await response.json()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self.unanswered += 1
            raise Away(str(error)) from error

    async def insist(self, token: str | None, method: str, path: str, body: Any = None, **query: object) -> Any:
        """Ask until there is an answer."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    return await self.call(token, method, path, body, **query)
                except Away:
                    await asyncio.sleep(RETRY_INTERVAL_S)

    async def register(self, name: str) -> "Account":
        """A new account with a device."""
        body = {"username": name, "password": "correct horse battery", "auth": {"type": "m.login.dummy"}}
        answer = await self.call(None, "POST", "/register", body)
        return self.account(answer)

    def account(self, answer: dict[str, str]) -> "Account":
        """The account of an answer to a registration or a login."""
        return Account(api=self, user_id=answer["user_id"], token=answer["access_token"], device_id=answer["device_id"])


@dataclass(frozen=True, eq=False)
class Account:
    """An account on one device."""

    api: Api
    user_id: str
    token: str
    device_id: str

    async def log_in(self) -> "Account":
        """The same account on another device."""
        identifier = {"type": "m.id.user", "user": self.user_id}
        body = {"type": "m.login.password", "identifier": identifier, "password": "correct horse battery"}
        answer = await self.api.call(None, "POST", "/login", body)
        return self.api.account(answer)

    async def create_room(self) -> str:
        """A public room."""
        answer = await self.api.call(self.token, "POST", "/createRoom", {"preset": "public_chat"})
        return str(answer["room_id"])

    async def join(self, room_id: str, *, via: str | None = None) -> None:
        await self.api.call(self.token, "POST", f"/join/{quote(room_id)}", {}, via=via)

    async def send(self, room_id: str, txn_id: str) -> str:
        """Send a message until it is acknowledged; its event id."""
        path = f"/rooms/{quote(room_id)}/send/m.room.message/{quote(txn_id)}"
        body = {"msgtype": "m.text", "body": txn_id}
        return str((await self.api.insist(self.token, "PUT", path, body))["event_id"])

    async def write_to(self, devices: "Sequence[Account]", txn_id: str) -> None:
        """Send a message to these devices until it is acknowledged."""
        messages: dict[str, dict[str, Any]] = {}
        for device in devices:
            messages.setdefault(device.user_id, {})[device.device_id] = {"text": txn_id}
        path = f"/sendToDevice/org.example.letter/{quote(txn_id)}"
        await self.api.insist(self.token, "PUT", path, {"messages": messages})

    async def page(self, room_id: str, **query: object) -> dict[str, Any]:
        """A page of a room's history."""
        path = f"/rooms/{quote(room_id)}/messages"
        page: dict[str, Any] = await self.api.insist(self.token, "GET", path, **query)
        return page

    async def history(self, room_id: str) -> list[dict[str, Any]]:
        """All of a room's history, oldest first."""
        events: list[dict[str, Any]] = []
        start = None
        while True:
            page = await self.page(room_id, dir="f", limit=500, from_=start)
            events += page["chunk"]
            start = page.get("end")
            if start is None:
                return events


def make_session() -> aiohttp.ClientSession:
    """Connections of clients."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    )
