"""A homeserver as its clients see it, for benchmarks: accounts, requests, the CPU time of its processes."""

import asyncio
import hashlib
import hmac
import itertools
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
import orjson

CLIENT = "/_matrix/client/v3"
PASSWORD = "correct horse battery staple"
CONCURRENCY = 8

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An account with a device."""

    user_id: str
    token: str
    device_id: str


@dataclass(slots=True, kw_only=True)
class Target:
    """One running server. `secret` is its registration secret; `pids` its processes, whose children count too."""

    name: str
    base_url: str
    secret: str
    pids: Sequence[int]
    session: aiohttp.ClientSession
    users: list[User] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(time.time_ns()))

    async def raw(self, method: str, path: str, user: User | None = None, body: Any = None, **query: str) -> bytes:
        """The bytes of an answer that must be a success."""
        headers = {} if user is None else {"Authorization": f"Bearer {user.token}"}
        data = None if body is None else orjson.dumps(body)
        url = self.base_url + (path if path.startswith("/") else f"{CLIENT}/{path}")
        async with self.session.request(method, url, data=data, params=query, headers=headers) as response:
            answer = await response.read()
            if response.status != 200:
                raise RuntimeError(f"{self.name}: {method} {path}: {response.status} {answer[:200]!r}")
            return answer

    async def call(self, method: str, path: str, user: User | None = None, body: Any = None, **query: str) -> Any:
        """The JSON of an answer that must be a success."""
        return orjson.loads(await self.raw(method, path, user, body, **query))

    async def provide_users(self, count: int) -> list[User]:
        """So many accounts, registered with the shared secret where there are not enough yet."""
        missing = range(len(self.users), count)
        self.users += await in_parallel(missing, lambda _: self._register())
        return self.users[:count]

    async def _register(self) -> User:
        path, username = "/_synapse/admin/v1/register", f"bench{next(self._numbers)}"
        nonce = (await self.call("GET", path))["nonce"]
        signed = b"\0".join([nonce.encode(), username.encode(), PASSWORD.encode(), b"notadmin"])
        mac = hmac.new(self.secret.encode(), signed, hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": username, "password": PASSWORD, "admin": False, "mac": mac}
        answer = await self.call("POST", path, body=body)
        return User(user_id=answer["user_id"], token=answer["access_token"], device_id=answer["device_id"])

    async def provide_room(self, members: Sequence[User]) -> str:
        """A public room of these members, made by the first."""
        room_id = str((await self.call("POST", "createRoom", members[0], {"preset": "public_chat"}))["room_id"])
        await in_parallel(members[1:], lambda user: self.call("POST", f"join/{quote(room_id)}", user, {}))
        return room_id

    async def send(self, user: User, room_id: str, content: dict[str, Any]) -> str:
        """Send a message; its id."""
        path = f"rooms/{quote(room_id)}/send/m.room.message/t{next(self._numbers)}"
        return str((await self.call("PUT", path, user, {"msgtype": "m.text", **content}))["event_id"])

    def cpu_s(self) -> float:
        """CPU seconds that the server's processes have taken so far."""
        return sum(map(_cpu_s, _with_children(self.pids)))


async def in_parallel(
    items: Iterable[T], work: Callable[[T], Awaitable[R]], *, concurrency: int = CONCURRENCY
) -> list[R]:
    """The results of `work` in order, so many at a time."""
    turns = asyncio.Semaphore(concurrency)

    async def one(item: T) -> R:
        async with turns:
            return await work(item)

    return list(await asyncio.gather(*map(one, items)))


async def timed_ms(work: Awaitable[object]) -> float:
    """Milliseconds on the clock."""
    began = time.perf_counter()
    await work
    return (time.perf_counter() - began) * 1e3


def _with_children(pids: Iterable[int]) -> set[int]:
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
