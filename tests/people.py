"""People who talk through a whole homeserver over real HTTP: `alice`, `bob` and whoever a test needs."""

import base64
import itertools
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from tim_server.app import prepare, start_process
from tim_server.config.settings import Settings

SERVER = "hospital.example"
PASSWORD = "correct horse battery"
MEDIA_STORE = {"master_key": base64.b64encode(bytes(32)).decode()}
"""A master key for files, so that a database may be served from another folder."""
CLIENT = "/_matrix/client/v3"


@dataclass
class Person:
    """An account with a device, and short ways to use the Client-Server API."""

    session: aiohttp.ClientSession
    user_id: str
    token: str
    device_id: str
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    async def request(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        """Status and JSON of a request; a path without a leading slash is relative to the Client-Server API."""
        headers = {"Authorization": f"Bearer {self.token}"}
        url = path if path.startswith("/") else f"{CLIENT}/{path}"
        params = {key.rstrip("_"): str(value) for key, value in query.items() if value is not None}
        if isinstance(body, bytes | str):
            content: dict[str, Any] = {"data": body}
        else:
            content = {} if body is None else {"json": body}
        async with self.session.request(method, url, params=params, headers=headers, **content) as response:
            return response.status, await response.json()

    async def expect(self, status: int, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The JSON of a request that must have this status."""
        got, answer = await self.request(method, path, body, **query)
        assert got == status, (method, path, got, answer)
        return answer

    async def refused(self, status: int, errcode: str, method: str, path: str, body: Any = None, **query: Any) -> None:
        """A request that must fail like this."""
        answer = await self.expect(status, method, path, body, **query)
        assert answer["errcode"] == errcode, answer

    async def get(self, path: str, **query: Any) -> Any:
        return await self.expect(200, "GET", path, **query)

    async def put(self, path: str, body: Any) -> Any:
        return await self.expect(200, "PUT", path, body)

    async def post(self, path: str, body: Any = None, **query: Any) -> Any:
        return await self.expect(200, "POST", path, {} if body is None else body, **query)

    async def sync_now(self) -> Any:
        """A first sync, asked differently each time: Synapse answers the same request from memory for two minutes."""
        return await self.get("sync", timeout=next(self._numbers))

    async def create_room(self, **options: Any) -> str:
        """A room, public unless said otherwise; its id."""
        if "preset" not in options and "visibility" not in options:
            options["preset"] = "public_chat"
        return str((await self.post("createRoom", options))["room_id"])

    async def join(self, room_id: str, *via: str) -> None:
        """Join, where need be through these servers in turn."""
        query = "&".join(f"via={quote(server)}" for server in via)
        await self.post(f"join/{quote(room_id)}?{query}")

    async def leave(self, room_id: str) -> None:
        await self.post(f"rooms/{room_id}/leave")

    async def send(self, room_id: str, content: Any = None, type: str = "m.room.message", txn_id: str = "") -> str:
        """Send a message event, by default some text; its id."""
        number = next(self._numbers)
        content = {"msgtype": "m.text", "body": f"message {number}"} if content is None else content
        path = f"rooms/{room_id}/send/{type}/{quote(txn_id or f'{self.device_id}{number}', safe='')}"
        return str((await self.put(path, content))["event_id"])

    async def say(self, room_id: str, text: str) -> str:
        """Send a text message; its id."""
        return await self.send(room_id, {"msgtype": "m.text", "body": text})

    async def set_state(self, room_id: str, type: str, content: Any, state_key: str = "") -> str:
        """Set state; the event's id."""
        path = f"rooms/{room_id}/state/{type}/{quote(state_key)}"
        return str((await self.put(path, content))["event_id"])

    async def state(self, room_id: str, type: str, state_key: str = "") -> Any:
        """The content of a state event."""
        return await self.get(f"rooms/{room_id}/state/{type}/{quote(state_key)}")

    async def event(self, room_id: str, event_id: str) -> Any:
        return await self.get(f"rooms/{room_id}/event/{event_id}")

    async def history(self, room_id: str, **query: Any) -> Any:
        """A page of `/messages`, backwards unless said otherwise."""
        return await self.get(f"rooms/{room_id}/messages", **{"dir": "b", **query})

    async def bodies(self, room_id: str, **query: Any) -> list[str]:
        """The texts of a page of `/messages`."""
        page = await self.history(room_id, **query)
        return [event["content"]["body"] for event in page["chunk"] if "body" in event["content"]]


@dataclass
class Hospital:
    """A whole homeserver that runs."""

    session: aiohttp.ClientSession

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, for those who speak HTTP themselves."""
        base_url = self.session._base_url
        assert base_url is not None
        return str(base_url.host), int(base_url.port or 80)

    async def person(self, name: str | None = None, **profile: str) -> Person:
        """A new account, with a name that nobody has unless one is given, and a device."""
        username = name or f"person-{secrets.token_hex(6)}"
        body = {"username": username, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
        async with self.session.post(f"{CLIENT}/register", json=body) as response:
            answer = await response.json()
            assert response.status == 200, answer
        person = Person(self.session, answer["user_id"], answer["access_token"], answer["device_id"])
        for key, value in profile.items():
            await person.put(f"profile/{quote(person.user_id)}/{key}", {key: value})
        return person


@asynccontextmanager
async def run_hospital(
    dsn: str, folder: Path, *, process: dict[str, Any] | None = None, **tenant: Any
) -> AsyncIterator[Hospital]:
    """A homeserver on this database, wired as `tim-server serve` does it; registration is open. `process` and `tenant`
    hold further options."""
    settings = Settings.model_validate(
        {
            "data_dir": str(folder),
            "listeners": [{"port": 0}],
            "media_store": MEDIA_STORE,
            **(process or {}),
            "tenants": [
                {
                    "server_name": SERVER,
                    "database": {"dsn": dsn},
                    "registration": {"enabled": True, "requires_token": False},
                    "passwords": {"argon2_memory_kib": 64, "argon2_time_cost": 1},
                    "rate_limits": {"enabled": False},
                    "presence": {"enabled": False},  # whoever comes or goes would end the waiting of others
                    **tenant,
                }
            ],
        }
    )
    await prepare(settings)
    async with start_process(settings) as started:
        base_url = f"http://{started.web_server.addresses[0]}"
        async with aiohttp.ClientSession(base_url) as session:
            yield Hospital(session)
