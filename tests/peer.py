"""A foreign homeserver made by hand: it has a key and TLS, signs what it asks, and answers as a test tells it.

async with run_peer(network, "peer.example") as peer:
    peer.answers["GET", "/_matrix/federation/v1/make_join/…"] = {"event": …}       # or a function of the request
    status, answer = await peer.ask("a.example", "GET", "/_matrix/federation/v1/version")
    assert peer.requests[-1].path == "/_matrix/federation/v1/send/…"
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import nacl.signing
import orjson
from aiohttp import web
from multidict import MultiDict
from yarl import URL

from tests.certificates import Certified
from tests.hospitals import Network
from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.matrix.events.build import Author
from tim_server.matrix.events.hashes import unpadded_base64
from tim_server.matrix.events.signatures import SigningKey, sign_json
from tim_server.matrix.identifiers import ServerName
from tim_server.matrix.request_auth import RequestSignature, signed_request

Answer = dict[str, Any] | web.StreamResponse | Callable[["Asked"], Awaitable[Any]]


@dataclass
class Asked:
    """A request that the peer got."""

    method: str
    path: str
    query: MultiDict[str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return orjson.loads(self.body)


def make_author(name: str, seed: int = 7) -> Author:
    """A server name with a key of its own."""
    key = SigningKey(key_id="ed25519:peer", key=nacl.signing.SigningKey(bytes([seed]) * 32))
    return Author(server_name=ServerName(name), key=key)


@dataclass(repr=False)
class Peer:
    """The server. `answers` by method and path (percent-decoded), or the beginning of a path with a `*` after it;
    anything else is 404. A value is JSON with status 200, a response of aiohttp, or a coroutine function that gets the
    request and gives one of them."""

    author: Author
    network: Network
    session: aiohttp.ClientSession
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    requests: list[Asked] = field(default_factory=list)

    @property
    def name(self) -> ServerName:
        return self.author.server_name

    def key_document(self, **changes: Any) -> dict[str, Any]:
        """What `GET /_matrix/key/v2/server` answers."""
        key = self.author.key
        document = {
            "server_name": self.name,
            "verify_keys": {key.key_id: {"key": unpadded_base64(key.verify_key)}},
            "old_verify_keys": {},
            "valid_until_ts": int(time.time() * 1000) + 3_600_000,
            **changes,
        }
        return sign_json(document, self.name, key)

    def asked(self, path: str) -> list[Asked]:
        """The requests whose path begins so."""
        return [request for request in self.requests if request.path.startswith(path)]

    async def ask(
        self,
        server: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        **signed: Any,
    ) -> tuple[int, Any]:
        """Status and JSON of a signed request; `path` is percent-encoded, with its query. `signed` replaces what the
        signature says (`origin`, `destination`, `key_id`), and by which name the server is asked (`tls_name`);
        `headers` what is sent."""
        url = URL(f"https://127.0.0.1:{self.network.ports[server]}{path}")
        content = body if body is None or isinstance(body, bytes) else encode_relaxed(body)
        authorization = self.authorization(server, method, url.raw_path_qs, content, **signed)
        name = signed.get("tls_name", server)
        sent = {"Authorization": authorization, "Host": name, **(headers or {})}
        async with self.session.request(method, url, data=content, headers=sent, server_hostname=name) as response:
            return response.status, await response.json(content_type=None)

    def authorization(self, server: str, method: str, uri: str, content: bytes | None = None, **signed: Any) -> str:
        """The header that signs a request; `signed` replaces what it says."""
        origin, destination = signed.get("origin", self.name), signed.get("destination", server)
        message = signed_request(method=method, uri=uri, origin=origin, destination=destination, content=content)
        header = RequestSignature(
            origin=origin,
            destination=destination,
            key_id=signed.get("key_id", self.author.key.key_id),
            signature=self.author.key.sign(message),
        ).header()
        return header if destination is not None else header.replace('destination="None",', "")

    def _find_answer(self, method: str, path: str) -> Answer | None:
        if (method, path) in self.answers:
            return self.answers[method, path]
        begun = [key for key in self.answers if key[1].endswith("*") and path.startswith(key[1][:-1])]
        return next((self.answers[key] for key in begun if key[0] == method), None)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        asked = Asked(request.method, request.path, request.query.copy(), dict(request.headers), await request.read())
        self.requests.append(asked)
        answer = self._find_answer(request.method, request.path)
        if answer is None and request.path == "/_matrix/key/v2/server":
            answer = self.key_document()
        if callable(answer) and not isinstance(answer, web.StreamResponse):
            answer = await answer(asked)
        if answer is None:
            return web.json_response({"errcode": "M_UNRECOGNIZED", "error": "not here"}, status=404)
        if isinstance(answer, web.Response):  # which can be sent once only
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        if isinstance(answer, web.StreamResponse):
            return answer
        return web.Response(body=orjson.dumps(answer), content_type="application/json")


@asynccontextmanager
async def run_peer(
    network: Network, name: str, *, seed: int = 7, certified: Certified | None = None
) -> AsyncIterator[Peer]:
    """A peer that listens at its port of the network; it presents `certified`, or one of the network's authority."""
    connector = aiohttp.TCPConnector(ssl=network.circle.client_context())
    async with aiohttp.ClientSession(connector=connector) as session:
        peer = Peer(author=make_author(name, seed), network=network, session=session)
        runner = web.ServerRunner(web.Server(peer._answer, access_log=None))  # type: ignore[arg-type]
        await runner.setup()
        context = network.circle.server_context(name, certified)
        await web.TCPSite(runner, "127.0.0.1", network.ports[name], ssl_context=context).start()
        try:
            yield peer
        finally:
            await runner.cleanup()
