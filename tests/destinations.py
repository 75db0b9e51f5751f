"""A server made by hand as the destination of transactions: takes them in, or answers as a test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from tests.peer import Asked, Peer
from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.matrix.events.hashes import event_id_of
from tim_server.matrix.events.signatures import decode_base64, verify_message
from tim_server.matrix.request_auth import parse_authorization, signed_request
from tim_server.matrix.room_versions import room_version

SEND = ("PUT", "/_matrix/federation/v1/send/*")
Answer = Callable[["Received"], Awaitable[Any]]


@dataclass
class Received:
    """A transaction that the destination got. The rooms of tests have version 11."""

    txn_id: str
    origin: str
    body: dict[str, Any]
    at: float

    @property
    def pdus(self) -> dict[str, Any]:
        return {str(event_id_of(pdu, room_version("11"))): pdu for pdu in self.body["pdus"]}

    @property
    def edus(self) -> list[dict[str, Any]]:
        edus: list[dict[str, Any]] = self.body["edus"]
        return edus


@dataclass
class Inbox:
    """What the destination got. `answer` is asked what to answer; without, each transaction is taken in."""

    peer: Peer
    keys: dict[str, bytes] = field(default_factory=dict)
    transactions: list[Received] = field(default_factory=list)
    taken: list[Received] = field(default_factory=list)
    answer: Answer | None = None
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def receive(self, asked: Asked) -> Any:
        """One request."""
        signature = parse_authorization(asked.headers["Authorization"])
        assert asked.body == encode_relaxed(orjson.loads(asked.body)), "what is signed is the canonical form"
        message = signed_request(
            method="PUT",
            uri=asked.path,
            origin=signature.origin,
            destination=self.peer.name,
            content=asked.body,
        )
        if signature.origin not in self.keys:
            self.keys[signature.origin] = await self._key_of(signature.origin)
        verify_message(message, signature.signature, self.keys[signature.origin])
        received = Received(
            txn_id=asked.path.rpartition("/")[2],
            origin=signature.origin,
            body=asked.json,
            at=asyncio.get_running_loop().time(),
        )
        self.transactions.append(received)
        await self._tell()
        answer = await self.answer(received) if self.answer is not None else {"pdus": {}}
        if isinstance(answer, dict):
            self.taken.append(received)
            await self._tell()
        return answer

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def until(self, *event_ids: str) -> dict[str, Any]:
        """Wait until all of these events were taken in; the PDU of the last."""
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(lambda: {*event_ids} <= {*self.events()})
        return next(t.pdus[event_ids[-1]] for t in self.taken if event_ids[-1] in t.pdus)

    async def until_edu(self, edu_type: str, wanted: Callable[[Any], bool] = bool) -> Any:
        """Wait for an EDU with such a content; the content."""
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(lambda: any(map(wanted, self.edus(edu_type))))
        return next(content for content in self.edus(edu_type) if wanted(content))

    async def until_count(self, count: int) -> None:
        """Wait until so many transactions have come, taken in or not."""
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(lambda: len(self.transactions) >= count)

    def events(self) -> list[str]:
        """The ids of the events that were taken in, in order."""
        return [event_id for transaction in self.taken for event_id in transaction.pdus]

    def edus(self, edu_type: str) -> list[Any]:
        """The contents of EDUs that were taken in."""
        return [edu["content"] for t in self.taken for edu in t.edus if edu["edu_type"] == edu_type]

    async def _key_of(self, server: str) -> bytes:
        url = f"https://127.0.0.1:{self.peer.network.ports[server]}/_matrix/key/v2/server"
        async with self.peer.session.get(url, headers={"Host": server}, server_hostname=server) as response:
            (key,) = (await response.json())["verify_keys"].values()
        return decode_base64(key["key"])


@asynccontextmanager
async def inbox_of(peer: Peer) -> AsyncIterator[Inbox]:
    """The peer takes transactions in, until this is left."""
    inbox = Inbox(peer)
    peer.answers[SEND] = inbox.receive
    yield inbox
    peer.answers.pop(SEND, None)


def status(code: int, body: Any = None, **headers: str) -> Answer:
    """An answer with this status each time."""

    async def answer(received: Received) -> web.Response:
        return web.Response(
            status=code,
            body=orjson.dumps(body or {"errcode": "M_UNKNOWN"}),
            content_type="application/json",
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )

    return answer


def first(answers: Iterable[Answer]) -> Answer:
    """Answer so, one after another; what comes later is taken in."""
    left = iter(answers)

    async def answer(received: Received) -> Any:
        following = next(left, None)
        return {"pdus": {}} if following is None else await following(received)

    return answer
