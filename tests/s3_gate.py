"""Who stands between a server and its object store: lets requests pass, has some of them go wrong, and refuses those
that are not signed."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from tests.s3 import S3

_OF_A_CONNECTION = ("connection", "transfer-encoding", "keep-alive", "date", "server")
STANDSTILL_S = 60.0
SLOW_PIECE_BYTES = 300_000
SLOW_PAUSE_S = 0.6


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error, as stores tell them."""

    status: int
    code: str
    message: str = ""

    def response(self) -> web.Response:
        text = f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>"
        return web.Response(status=self.status, text=text, content_type="application/xml")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the store has answered."""

    status: int
    headers: "CIMultiDict[str]"
    body: bytes

    def response(self) -> web.Response:
        return web.Response(status=self.status, headers=self.headers, body=self.body)


Ask = Callable[[], Awaitable[Answer]]
Mishap = Callable[[web.Request, Ask], Awaitable[web.StreamResponse]]
Check = Callable[[web.Request, bytes], Refusal | None]


def refused(status: int, code: str) -> Mishap:
    """The store answers with an error, and does nothing."""

    async def happen(request: web.Request, ask: Ask) -> web.StreamResponse:
        return Refusal(status, code).response()

    return happen


async def reset(request: web.Request, ask: Ask) -> web.StreamResponse:
    """The connection breaks before the store has done anything."""
    return _broken_off(request)


async def done_and_reset(request: web.Request, ask: Ask) -> web.StreamResponse:
    """The connection breaks when the store has done all, and before it says so."""
    await ask()
    return _broken_off(request)


async def stands_still(request: web.Request, ask: Ask) -> web.StreamResponse:
    """No answer comes."""
    await asyncio.sleep(STANDSTILL_S)
    return _broken_off(request)


async def broken_off(request: web.Request, ask: Ask) -> web.StreamResponse:
    """Half of the body comes, then the connection breaks."""
    answer = await ask()
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = len(answer.body)
    await response.prepare(request)
    await response.write(answer.body[: len(answer.body) // 2])
    return _broken_off(request)


async def slowly(request: web.Request, ask: Ask) -> web.StreamResponse:
    """The body takes longer than some wait for a request."""
    answer = await ask()
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = len(answer.body)
    await response.prepare(request)
    for start in range(0, len(answer.body), SLOW_PIECE_BYTES):
        await response.write(answer.body[start : start + SLOW_PIECE_BYTES])
        await asyncio.sleep(SLOW_PAUSE_S)
    return response


async def too_short(request: web.Request, ask: Ask) -> web.StreamResponse:
    """Half of the body comes as if it were all."""
    answer = await ask()
    return replace(answer, body=answer.body[: len(answer.body) // 2]).response()


async def altered(request: web.Request, ask: Ask) -> web.StreamResponse:
    """A bit in the middle is another one."""
    answer = await ask()
    body = bytearray(answer.body)
    if body:
        body[len(body) // 2] ^= 1
    return replace(answer, body=bytes(body)).response()


def _broken_off(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response(status=500)


@dataclass(kw_only=True)
class Gate:
    """Passes requests on. `mishap_of` says of each method what goes wrong with a request, if anything; `check` refuses
    requests. `alters_uploads`: bodies change on their way to the store. `passed` are methods."""

    behind: S3
    session: aiohttp.ClientSession
    check: Check = lambda request, body: None
    mishap_of: Callable[[str], Mishap | None] = lambda method: None
    alters_uploads: int = 0
    passed: list[str] = field(default_factory=list)
    _runner: web.AppRunner | None = None
    _port: int = 0

    @property
    def s3(self) -> S3:
        """The store, by way of the gate."""
        return S3(f"http://127.0.0.1:{self._port}")

    def will(self, mishaps: Mapping[str, Sequence[Mishap]]) -> None:
        """Have the next requests of these methods go wrong, in turn."""
        left = {method: list(several) for method, several in mishaps.items()}
        self.mishap_of = lambda method: left[method].pop(0) if left.get(method) else None

    async def open(self) -> None:
        """Listen, on the same port as before."""
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def shut(self) -> None:
        """Break off what is under way and refuse connections, as a store that was killed."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        mishap = self.mishap_of(request.method)
        if mishap is reset:
            return _broken_off(request)
        body = await request.read()
        if self.alters_uploads and body:
            self.alters_uploads -= 1
            body = body[:-1] + bytes((body[-1] ^ 1,))
        refusal = self.check(request, body) or _check_digest(request, body)
        if refusal is not None:
            return refusal.response()

        async def ask() -> Answer:
            self.passed.append(request.method)
            url = URL(f"{self.behind.endpoint}{request.raw_path}", encoded=True)
            async with self.session.request(request.method, url, data=body, headers=_kept(request.headers)) as response:
                headers = _kept(response.headers)
                if request.method == "HEAD":
                    headers["Content-Length"] = response.headers["Content-Length"]
                return Answer(response.status, headers, await response.read())

        return (await ask()).response() if mishap is None else await mishap(request, ask)


def _check_digest(request: web.Request, body: bytes) -> Refusal | None:
    told = request.headers.get("Content-MD5")
    if told is not None and base64.b64decode(told) != hashlib.md5(body, usedforsecurity=False).digest():
        return Refusal(400, "BadDigest")
    return None


def _kept(headers: Mapping[str, str]) -> "CIMultiDict[str]":
    return CIMultiDict(
        (name, value) for name, value in headers.items() if name.lower() not in (*_OF_A_CONNECTION, "content-length")
    )


@asynccontextmanager
async def run_gate(behind: S3) -> AsyncIterator[Gate]:
    """A gate that is open, and shut at the end."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        gate = Gate(behind=behind, session=session)
        await gate.open()
        try:
            yield gate
        finally:
            await gate.shut()
