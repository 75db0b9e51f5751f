"""A client that syncs with long polls, and keeps the timeline of each room, and the messages to its device, as it was
told of them.

It fills the gaps of `limited` timelines with `/messages`, and takes a step only when all of it has arrived, so that the
next request names the token of the last complete answer. What arrives twice stays twice in its timelines.
"""

import asyncio
import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from tests.durability.api import Account

PAGE = 30
LONG_POLL_MS = 5_000


@dataclass(kw_only=True)
class Listener:
    """`pause_s` between two syncs. `timelines`: event ids by room, in the order in which they count for the client;
    `letters`: what was sent to the device, as (sender, text)."""

    account: Account
    timeline_limit: int
    pause_s: float = 0.0
    lazy: bool = False
    timelines: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    letters: list[tuple[str, str]] = field(default_factory=list)
    since: str | None = None
    gaps: int = 0
    answers: int = 0
    _task: "asyncio.Task[None] | None" = None

    def start(self) -> None:
        """Begin to listen."""
        self._task = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        """Stop, and raise what went wrong."""
        await self.abandon()
        self.check()

    async def abandon(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def check(self) -> None:
        """Raise what went wrong so far."""
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.result()

    async def step(self, timeout_ms: int = LONG_POLL_MS) -> None:
        """One sync, and the pages that its gaps need."""
        answer = await self.account.api.insist(
            self.account.token, "GET", "/sync", since=self.since, timeout=timeout_ms, filter=self._filter()
        )
        joined = answer.get("rooms", {}).get("join", {})
        news = {room_id: await self._timeline(room_id, room["timeline"]) for room_id, room in joined.items()}
        for room_id, event_ids in news.items():
            self.timelines[room_id] += event_ids
        letters = answer.get("to_device", {}).get("events", [])
        self.letters += [(letter["sender"], letter["content"]["text"]) for letter in letters]
        self.since = answer["next_batch"]
        self.answers += 1

    async def _listen(self) -> None:
        while True:
            await self.step()
            await asyncio.sleep(self.pause_s)

    def _filter(self) -> str:
        state = {"lazy_load_members": True} if self.lazy else {}
        return json.dumps({"room": {"timeline": {"limit": self.timeline_limit}, "state": state}})

    async def _timeline(self, room_id: str, timeline: dict[str, Any]) -> list[str]:
        """The events of a timeline, with those of the gap before it."""
        told = [event["event_id"] for event in timeline["events"]]
        if not timeline.get("limited"):
            return told
        self.gaps += 1
        start = timeline.get("prev_batch")
        while start is not None:
            page = await self.account.page(room_id, dir="b", limit=PAGE, from_=start, to=self.since)
            told = [event["event_id"] for event in reversed(page["chunk"])] + told
            start = page.get("end")
        return told
