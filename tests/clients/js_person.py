"""A person with matrix-js-sdk: a device in a Node process (`js_devices.mjs`) that does and tells what it is asked."""

import asyncio
import itertools
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("js_devices.mjs")
PATIENCE_S = 30.0
"""For an answer. The devices themselves give up waiting earlier, and then tell why."""
LINE_BYTES_MAX = 16 * 2**20

_NOT_ASKED = object()


class NodeError(Exception):
    """What the SDK threw: status and errcode, if the server refused; otherwise its trace."""


@dataclass(slots=True, kw_only=True)
class NodeProcess:
    """The process in which the devices are, and the questions that it has not answered yet."""

    process: Process
    log: Path
    _questions: dict[int, asyncio.Future[Any]] = field(default_factory=dict)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    async def ask(self, device: str, verb: str, words: tuple[Any, ...], until: Any = _NOT_ASKED) -> Any:
        """The answer of a device; with `until`, the first that equals it, or the last one when its patience ends."""
        number = next(self._numbers)
        question = {"id": number, "device": device, "ask": verb, "with": words}
        if until is not _NOT_ASKED:
            question["until"] = until
        self._questions[number] = asyncio.get_running_loop().create_future()
        assert self.process.stdin is not None and self.process.returncode is None, "Node has ended"
        self.process.stdin.write(json.dumps(question).encode() + b"\n")
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._questions[number]
        finally:
            del self._questions[number]

    async def listen(self) -> None:
        """Give each answer to the one who asked, until the process ends."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            answer = json.loads(line)
            question = self._questions.get(answer["id"])
            if question is None or question.done():
                continue
            if "error" in answer:
                question.set_exception(NodeError(answer["error"]))
            else:
                question.set_result(answer["result"])
        for question in self._questions.values():
            if not question.done():
                question.set_exception(NodeError("Node has ended"))


@dataclass(frozen=True, slots=True, kw_only=True)
class JsPerson:
    """One account's device, whose sync loop runs."""

    name: str
    user_id: str
    device_id: str
    node: NodeProcess

    async def ask(self, verb: str, *words: Any) -> Any:
        """Do or tell something; what can be asked are the exported functions that VERBS in `js_devices.mjs` lists."""
        return await self.node.ask(self.name, verb, words)

    async def call(self, method: str, *words: Any) -> Any:
        """The result of a method of the SDK's client."""
        return await self.ask("call", method, *words)

    async def shows(self, view: str, *words: Any, expecting: Any) -> None:
        """Wait until a view is as expected."""
        shown = await self.node.ask(self.name, view, words, until=expecting)
        assert shown == expecting, f"{self.name} shows {view} as {shown!r}, not as {expecting!r}"

    async def say(self, room_id: str, body: str) -> str:
        """Send a text message; its event id."""
        event_id: str = await self.ask("say", room_id, body)
        return event_id

    async def hears(self, room_id: str, texts: list[str]) -> None:
        """Wait until the room's timeline shows these messages in this order, decrypted, and no others."""
        await self.shows("heard", room_id, expecting=texts)


@asynccontextmanager
async def node_process(program: str, log: Path) -> AsyncIterator[NodeProcess]:
    """A Node process without devices; what the SDK logs goes to `log`."""
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            program, str(PROGRAM), stdin=PIPE, stdout=PIPE, stderr=stderr, limit=LINE_BYTES_MAX
        )
    node = NodeProcess(process=process, log=log)
    listening = asyncio.create_task(node.listen())
    try:
        yield node
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await listening


@asynccontextmanager
async def new_person(node: NodeProcess, base_url: str, username: str) -> AsyncIterator[JsPerson]:
    """A person with a fresh account."""
    async with _device(node, "signUp", base_url, username) as person:
        yield person


@asynccontextmanager
async def new_device(node: NodeProcess, base_url: str, user_id: str) -> AsyncIterator[JsPerson]:
    """A person on a new device, logged in with the password."""
    async with _device(node, "logIn", base_url, user_id) as person:
        yield person


@asynccontextmanager
async def _device(node: NodeProcess, entrance: str, base_url: str, who: str) -> AsyncIterator[JsPerson]:
    name = f"{who} {next(_devices)}"
    session = await node.ask(name, entrance, (base_url, who))
    person = JsPerson(name=name, user_id=session["user_id"], device_id=session["device_id"], node=node)
    try:
        yield person
    finally:
        complaints = await person.ask("leaveOff")
    assert complaints == [], "the sync loop complained"


_devices = itertools.count(1)
