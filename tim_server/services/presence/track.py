"""Keep track of who is there: what users ask to be told of them, what their devices say when they sync, what they do,
and the time that passes.

All of it is gathered, and settled together at most once a second: one look at the database, and a commit only where
others are to be told of something. Other processes do the same for the devices that sync there, so that what is noted
of devices and decided for users is read from the database, and decided again within the commit.

Spec: https://spec.matrix.org/v1.19/client-server-api/#presence
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from tim_server.matrix.errors import Unavailable
from tim_server.matrix.identifiers import UserId
from tim_server.matrix.presence import OFFLINE, Asked, DeviceNote, Signals, UserPresence, next_presence
from tim_server.services.presence.audience import PresenceAudience, presence_facts
from tim_server.services.presence.policy import NOTE_INTERVAL_MS
from tim_server.storage.commit_log import CommitEntry, Fact
from tim_server.storage.database import Connection, Database
from tim_server.storage.presence import (
    PRESENCE_STREAM,
    find_due,
    is_anybody_present,
    load_devices,
    load_presence,
    note_devices,
    put_activity,
    put_presence,
)
from tim_server.storage.receipts import RECEIPTS
from tim_server.storage.writer import Writer

SETTLE_INTERVAL_S = 1.0
DUE_MAX = 1_000
"""How many users are found idle or gone at once."""

log = structlog.get_logger(__name__)

Device = tuple[UserId, str]


@dataclass(slots=True, kw_only=True)
class _Heard:
    """What waits to be settled for a user; `settled` are those who asked and wait for it."""

    asked: Asked | None = None
    notes: dict[str, tuple[str, bool]] = field(default_factory=dict)
    active_ts: int | None = None
    settled: "list[asyncio.Future[None]]" = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class PresenceTracking:
    """Hears of users in this process, and settles what becomes of their presence."""

    database: Database
    writer: Writer
    audience: PresenceAudience
    now_ms: Callable[[], int]
    _heard: dict[UserId, _Heard] = field(default_factory=dict)
    _noted: dict[UserId, dict[str, tuple[str, int]]] = field(default_factory=dict)
    _waiting: dict[Device, tuple[str, int]] = field(default_factory=dict)
    _bumped: dict[UserId, int] = field(default_factory=dict)
    _settling: "asyncio.Task[None] | None" = None
    _settled_at: float = float("-inf")
    _may_be_due: bool = True

    async def set(self, user_id: UserId, presence: str, status_msg: str | None) -> None:
        """The user asks that this is told of them; done when it is committed. Raises `Unavailable`."""
        heard = self._hear(user_id)
        heard.asked = Asked(presence=presence, status_msg=status_msg, ts=self.now_ms())
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heard.settled.append(done)
        await done

    @contextmanager
    def syncing(self, user_id: UserId, device_id: str | None, presence: str) -> Iterator[None]:
        """While a device syncs, and says this of its user; one that says `offline` says nothing."""
        if presence == OFFLINE or not self.audience.policy.enabled:
            yield
            return
        device = (user_id, device_id or "")
        self._note(device, presence, is_new_sync=True)
        _, count = self._waiting.get(device, ("", 0))
        self._waiting[device] = (presence, count + 1)
        try:
            yield
        finally:
            presence_now, count = self._waiting[device]
            if count > 1:
                self._waiting[device] = (presence_now, count - 1)
            else:
                del self._waiting[device]

    async def look_after(self) -> None:
        """Note the devices that still wait, and find users who are idle or gone. Asks the database only while anybody
        may be present."""
        for device, (presence, _) in list(self._waiting.items()):
            self._note(device, presence, is_new_sync=False)
        self._forget_old()
        if not self._may_be_due:
            return
        self._may_be_due = False
        now_ms, times = self.now_ms(), self.audience.policy.times
        async with self.database.connection() as connection:
            due = await find_due(
                connection,
                idle_by=now_ms - times.idle_after_ms,
                gone_by=now_ms - times.offline_after_ms,
                limit=DUE_MAX,
            )
            if await is_anybody_present(connection):
                self._may_be_due = True
        for user_id in due:
            self._hear(user_id)

    def follow(self, entry: CommitEntry) -> None:
        """Who writes or reads is active; only the process where a user syncs looks at it."""
        for user_id, streams in entry.users.items():
            if PRESENCE_STREAM in streams:
                self._may_be_due = True
                self._bumped.pop(user_id, None)
        if not self._noted:
            return
        now_ms = self.now_ms()
        for rows in entry.events.values():
            for row in rows:
                self._hear_activity(row.sender, now_ms)
        for facts in entry.facts.values():
            for fact in facts:
                if fact.stream == RECEIPTS:
                    self._hear_activity(UserId(fact.value[0]), now_ms)

    async def close(self) -> None:
        """Settle what was heard, and hear no more."""
        self._noted.clear()
        if self._settling is not None:
            await asyncio.gather(self._settling, return_exceptions=True)

    def _hear_activity(self, user_id: UserId, now_ms: int) -> None:
        if user_id in self._noted and now_ms - self._bumped.get(user_id, 0) >= NOTE_INTERVAL_MS:
            self._bumped[user_id] = now_ms
            self._hear(user_id).active_ts = now_ms

    def _note(self, device: Device, presence: str, *, is_new_sync: bool) -> None:
        user_id, device_id = device
        now_ms = self.now_ms()
        of_user = self._noted.setdefault(user_id, {})
        before, noted_ts = of_user.get(device_id, ("", 0))
        if before == presence and now_ms - noted_ts < NOTE_INTERVAL_MS:
            return
        of_user[device_id] = (presence, now_ms)
        self._hear(user_id).notes[device_id] = (presence, is_new_sync)

    def _forget_old(self) -> None:
        """Forget devices that no longer sync here."""
        oldest = self.now_ms() - 2 * NOTE_INTERVAL_MS
        for user_id, of_user in list(self._noted.items()):
            for device_id, (_, noted_ts) in list(of_user.items()):
                if noted_ts < oldest and (user_id, device_id) not in self._waiting:
                    del of_user[device_id]
            if not of_user:
                del self._noted[user_id]
                self._bumped.pop(user_id, None)

    def _hear(self, user_id: UserId) -> _Heard:
        heard = self._heard.get(user_id)
        if heard is None:
            heard = self._heard[user_id] = _Heard()
        if self._settling is None:
            self._settling = asyncio.create_task(self._settle_all(), name="presence")
        return heard

    async def _settle_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._heard:
            await asyncio.sleep(max(self._settled_at + SETTLE_INTERVAL_S - loop.time(), 0))
            self._settled_at = loop.time()
            heard, self._heard = self._heard, {}
            try:
                await self._settle(heard)
            except Unavailable:
                log.warning("presence could not be settled: the database can't be reached", users=len(heard))
                self._take_back(heard)
            except Exception:
                log.exception("presence could not be settled", users=len(heard))
                self._take_back(heard)
            else:
                _finish(heard)
        self._settling = None

    def _take_back(self, heard: Mapping[UserId, _Heard]) -> None:
        """Tell those who asked that it failed; devices are noted again when they next say something."""
        for user_id, of_user in heard.items():
            self._noted.pop(user_id, None)
            self._bumped.pop(user_id, None)
            for done in of_user.settled:
                if not done.done():
                    done.set_exception(Unavailable())

    async def _settle(self, heard: Mapping[UserId, _Heard]) -> None:
        now_ms = self.now_ms()
        synced_after = now_ms - self.audience.policy.times.offline_after_ms
        said = {(u, device_id): note[0] for u, of_user in heard.items() for device_id, note in of_user.notes.items()}
        before: dict[Device, str] = {}
        if said:
            async with self.database.transaction() as tx:
                before = await note_devices(tx, said, now_ms=now_ms, synced_after=synced_after)
        decision = _Decision(
            audience=self.audience,
            signals={user_id: _signals_of(user_id, of_user, before) for user_id, of_user in heard.items()},
            now_ms=now_ms,
            synced_after=synced_after,
        )
        async with self.database.read() as tx:
            changed, active = await decision.decide(tx)
            decision.rooms_of = await self.audience.rooms_of(tx, [p.user_id for p in changed]) if changed else {}
        if active:
            async with self.database.transaction() as tx:
                await put_activity(tx, active)
        if changed:
            await self.writer.write(decision)


def _signals_of(user_id: UserId, heard: _Heard, before: Mapping[Device, str]) -> Signals:
    notes = [
        DeviceNote(
            device_id=device_id, presence=presence, before=before.get((user_id, device_id)), is_new_sync=is_new_sync
        )
        for device_id, (presence, is_new_sync) in heard.notes.items()
    ]
    return Signals(asked=heard.asked, notes=notes, active_ts=heard.active_ts)


def _finish(heard: Mapping[UserId, _Heard]) -> None:
    for of_user in heard.values():
        for done in of_user.settled:
            if not done.done():
                done.set_result(None)


@dataclass(slots=True, kw_only=True)
class _Decision:
    """What becomes of users of whom something was heard: decided on what the database says, and once more within the
    commit, before which no other process can decide otherwise."""

    audience: PresenceAudience
    signals: Mapping[UserId, Signals]
    now_ms: int
    synced_after: int
    rooms_of: dict[UserId, list[int]] = field(default_factory=dict)
    users: tuple[UserId, ...] = ()
    facts: tuple[Fact, ...] = ()
    streams: tuple[str, ...] = (PRESENCE_STREAM,)

    async def decide(self, tx: Connection) -> tuple[list[UserPresence], dict[UserId, int]]:
        """Those of whom others are to be told something, and when those were active of whom they are not."""
        known = await load_presence(tx, self.audience.codec, self.signals.keys())
        devices = await load_devices(tx, self.signals.keys(), synced_after=self.synced_after)
        changed, active = [], {}
        for user_id, signals in self.signals.items():
            was, times = known[user_id], self.audience.policy.times
            became, is_news = next_presence(was, signals, devices[user_id], now_ms=self.now_ms, times=times)
            if is_news:
                changed.append(became)
            elif became.last_active_ts > was.last_active_ts:
                active[user_id] = became.last_active_ts
        return changed, active

    async def store(self, tx: Connection, position: int) -> None:
        """Set what is still to be told."""
        changed, _ = await self.decide(tx)
        if changed:
            await put_presence(tx, self.audience.codec, changed, position)
        self.users = tuple(presence.user_id for presence in changed)
        self.facts = presence_facts(self.users, self.rooms_of)
