"""The load: users who send with transaction ids into rooms while clients listen, and what must hold afterwards."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.durability.api import Account, Api, make_session
from tests.durability.listener import Listener
from tests.durability.site import Site

PAUSE_S_MAX = 0.03
REPEATED_MAX = 60
ROOM_ORDER = """
SELECT e.event_id FROM events AS e JOIN rooms AS r ON r.nid = e.room_nid
WHERE r.room_id = $1 AND e.position IS NOT NULL AND e.rejected IS NULL AND NOT e.soft_failed
ORDER BY e.position, e.minor
"""


@dataclass(frozen=True)
class Sent:
    """What was asked for."""

    sender: Account
    room_id: str
    txn_id: str


@dataclass(kw_only=True)
class Load:
    """`acknowledged` holds the event id that the server gave for each transaction, `letters` by sender the messages to
    the listeners' devices that were acknowledged, in order."""

    site: Site
    api: Api
    senders: list[Account] = field(default_factory=list)
    rooms: list[str] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)
    acknowledged: dict[Sent, str] = field(default_factory=dict)
    letters: dict[Account, list[str]] = field(default_factory=dict)
    forgotten_letters: set[str] = field(default_factory=set)
    repeats: int = 0
    _recent: list[Sent] = field(default_factory=list)
    _tasks: "list[asyncio.Task[None]]" = field(default_factory=list)
    _is_on: bool = False
    _count: int = 0

    async def prepare(self, *, users: int = 4, rooms: int = 3) -> None:
        """Make the accounts and rooms, everybody joined to all, and the listeners on devices of their own."""
        self.senders = [await self.api.register(f"user{number}") for number in range(users)]
        for number in range(rooms):
            creator, *others = self.senders[number % users :] + self.senders[: number % users]
            self.rooms.append(await creator.create_room())
            for other in others:
                await other.join(self.rooms[-1])
        kinds: list[tuple[int, float, bool]] = [(10, 0, False), (1, 0, False), (100, 0, True), (5, 1.0, True)]
        for (limit, pause_s, lazy), user in zip(kinds, self.senders, strict=False):
            listener = Listener(account=await user.log_in(), timeline_limit=limit, pause_s=pause_s, lazy=lazy)
            await listener.step(timeout_ms=0)
            self.listeners.append(listener)

    def start(self) -> None:
        """Begin to send and to listen."""
        for listener in self.listeners:
            listener.start()
        self._is_on = True
        self._tasks = [asyncio.create_task(self._send(sender)) for sender in self.senders for _ in range(2)]
        self._tasks += [asyncio.create_task(self._write_letters(sender)) for sender in self.senders]

    async def stop(self) -> None:
        """Send no more, and wait until everything is acknowledged and everybody has heard of it."""
        self._is_on = False
        await asyncio.gather(*self._tasks)
        await self.all_heard()
        for listener in self.listeners:
            await listener.stop()

    async def abandon(self) -> None:
        """End all at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for listener in self.listeners:
            await listener.abandon()

    async def _send(self, sender: Account) -> None:
        while self._is_on:
            self._count += 1
            sent = Sent(sender=sender, room_id=random.choice(self.rooms), txn_id=f"txn{self._count}")
            self.acknowledged[sent] = await sender.send(sent.room_id, sent.txn_id)
            self._recent.append(sent)
            await asyncio.sleep(random.uniform(0, PAUSE_S_MAX))

    async def _write_letters(self, sender: Account) -> None:
        while self._is_on:
            self._count += 1
            text = f"letter{self._count}"
            await sender.write_to([listener.account for listener in self.listeners], text)
            self.letters.setdefault(sender, []).append(text)
            await asyncio.sleep(random.uniform(0, PAUSE_S_MAX))

    def check(self) -> None:
        """Raise what went wrong so far."""
        for task in self._tasks:
            if task.done():
                task.result()
        for listener in self.listeners:
            listener.check()

    def known(self) -> set[str]:
        """All events that any client has been told of."""
        heard = {id_ for listener in self.listeners for timeline in listener.timelines.values() for id_ in timeline}
        return heard | set(self.acknowledged.values())

    def forget(self, lost: frozenset[str]) -> None:
        """Events that a restore took back are not expected any more; nor do their transactions count as used. Which
        letters it took back is not known: those from before count no more."""
        self.forgotten_letters.update(text for texts in self.letters.values() for text in texts)
        self.letters.clear()
        self.acknowledged = {sent: event_id for sent, event_id in self.acknowledged.items() if event_id not in lost}
        self._recent = [sent for sent in self._recent if sent in self.acknowledged]

    async def repeat_recent(self) -> None:
        """Repeat requests that were acknowledged since the last time: each gives the event that it gave then."""
        recent, self._recent = self._recent[-REPEATED_MAX:], []
        again = await asyncio.gather(*(sent.sender.send(sent.room_id, sent.txn_id) for sent in recent))
        for sent, event_id in zip(recent, again, strict=True):
            assert event_id == self.acknowledged[sent], f"{sent} made {event_id} as well as {self.acknowledged[sent]}"
        self.repeats += len(recent)

    async def all_heard(self) -> None:
        """Wait until each listener has the newest event of each room, and the last letters."""
        newest = {room_id: (await self.room_order(room_id))[-1] for room_id in self.rooms}
        last_letters = {(sender.user_id, texts[-1]) for sender, texts in self.letters.items()}
        async with asyncio.timeout(60):
            for listener in self.listeners:
                while any(listener.timelines[room_id][-1:] != [newest[room_id]] for room_id in self.rooms):
                    listener.check()
                    await asyncio.sleep(0.05)
                while not last_letters <= set(listener.letters):
                    listener.check()
                    await asyncio.sleep(0.05)

    async def heard_of(self, room_id: str) -> None:
        """Wait until each listener has been told of a room, and has filled the gap before what it was told."""
        async with asyncio.timeout(60):
            for listener in self.listeners:
                while not listener.timelines.get(room_id):
                    listener.check()
                    await asyncio.sleep(0.05)

    async def room_order(self, room_id: str) -> list[str]:
        """The events of a room in their order, as they are stored."""
        return [row["event_id"] for row in await self.site.fetch(ROOM_ORDER, room_id)]

    async def judge(self, lost: frozenset[str] = frozenset()) -> None:
        """What must hold once nobody sends any more. `lost`: events that a restore took back."""
        for room_id in self.rooms:
            order = await self.room_order(room_id)
            await self._check_history(room_id, order)
            for listener in self.listeners:
                heard = listener.timelines[room_id]
                twice = [event_id for event_id, count in Counter(heard).items() if count > 1]
                assert not twice, f"{listener.account.user_id} was told twice of {twice}"
                heard = [event_id for event_id in heard if event_id not in lost]
                missing = [event_id for event_id in order if event_id not in set(heard)]
                assert not missing, f"{listener.account.user_id} was never told of {missing} of {len(order)}"
                assert heard == order, f"{listener.account.user_id} was told in another order"

        for listener in self.listeners:
            self._check_letters(listener)

    def _check_letters(self, listener: Listener) -> None:
        for sender, sent in self.letters.items():
            got = [text for user_id, text in listener.letters if user_id == sender.user_id]
            if self.forgotten_letters:  # one that was told of, but not acknowledged, is sent again after the restore
                got = [text for text in dict.fromkeys(got) if text not in self.forgotten_letters]
            assert got == sent, f"{listener.account.user_id} got other letters of {sender.user_id}, or in another order"

    async def _check_history(self, room_id: str, order: list[str]) -> None:
        history = await self.senders[0].history(room_id)
        assert [event["event_id"] for event in history] == order
        texts = Counter(event["content"].get("body") for event in history if event["type"] == "m.room.message")
        assert set(texts.values()) <= {1}, "a transaction made more than one event"
        acknowledged = {id_: sent for sent, id_ in self.acknowledged.items() if sent.room_id == room_id}
        absent = acknowledged.keys() - set(order)
        assert not absent, f"acknowledged, but not there: {absent}"
        by_id = {event["event_id"]: event for event in history}
        for event_id, sent in acknowledged.items():
            found = by_id[event_id]
            assert (found["sender"], found["content"]["body"]) == (sent.sender.user_id, sent.txn_id)

    def figures(self) -> str:
        """What was done, for the report."""
        answers = sum(listener.answers for listener in self.listeners)
        gaps = sum(listener.gaps for listener in self.listeners)
        return (
            f"{len(self.acknowledged)} events acknowledged, {sum(map(len, self.letters.values()))} messages to "
            f"{len(self.listeners)} devices each, {self.repeats} requests repeated, "
            f"{self.api.unanswered} requests without an answer, {self.api.unavailable} answered 503 (the slowest after "
            f"{self.api.slowest_503_s:.1f} s), {answers} syncs, {gaps} gaps filled"
        )


@asynccontextmanager
async def load_on(site: Site) -> AsyncIterator[Load]:
    """A load that is prepared, and not started yet."""
    async with make_session() as session:
        load = Load(site=site, api=Api(session, base_url=site.base_url))
        await load.prepare()
        try:
            yield load
        finally:
            await load.abandon()
