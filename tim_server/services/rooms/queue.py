"""The queue of each room: drafts wait here, and are decided in order, many at a time.

One task works on a room while it has anything waiting. It loads the head, decides, and gives the commit to the writer;
when the head has moved meanwhile, it decides again. Rooms do not wait for each other.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import structlog

from tim_server.matrix.errors import LimitExceeded, MatrixError, Unavailable
from tim_server.matrix.events.build import Author
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, RoomAlias, RoomId
from tim_server.matrix.room_versions import RoomVersion
from tim_server.matrix.server_acls import SERVER_ACL
from tim_server.services.rooms.ask_policy_server import PolicyCheck
from tim_server.services.rooms.auth_events import ParsedEvents
from tim_server.services.rooms.decide import Decider, Decision, needed_keys, new_room_head
from tim_server.services.rooms.draft import Draft, DraftGroup, TransactionKey
from tim_server.services.rooms.head import RoomHead, RoomHeads
from tim_server.services.rooms.kept_out import admitted, check_takes
from tim_server.services.rooms.named_servers import servers_named
from tim_server.services.rooms.notify import EventOutcomes
from tim_server.services.rooms.receive import EventsMissing, Incoming, Receiver
from tim_server.services.rooms.relate import load_related
from tim_server.services.rooms.relay import relayed
from tim_server.services.rooms.withhold import changes_access, withheld_from_denied
from tim_server.services.trust.gate import ChokePoint, TrustGate
from tim_server.storage.client_transactions import load_known_transactions
from tim_server.storage.database import CONNECTION_FAILURES, DuplicateKey
from tim_server.storage.events import load_redacted
from tim_server.storage.store import Store
from tim_server.storage.writer import HeadMoved, TransactionKnown

CREATE_ATTEMPTS = 20

Answer: TypeAlias = tuple[EventId, ...] | MatrixError

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueOptions:
    """Bounds: drafts waiting in one room, drafts decided at once, and how often a moved head is decided again."""

    waiting_max: int = 5_000
    drafts_per_decision_max: int = 200
    attempts_max: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedAlone:
    """What is decided by itself on the room's head, and again where the head moved; `decide` gives one answer."""

    decide: Callable[[RoomHead], Awaitable[Decision]]


class RoomBroken(Unavailable):
    """M_UNKNOWN: what is known of the room does not let anything be decided, and will not later."""

    default_message = "Nothing can be sent to this room"


Group: TypeAlias = DraftGroup | Incoming | DecidedAlone


@dataclass(slots=True, eq=False)
class _Waiting:
    """`sharing` are groups with the same transaction: they get the same answer, also where the first caller is gone."""

    group: Group
    done: "asyncio.Future[tuple[EventId, ...]]"
    sharing: "list[_Waiting]" = field(default_factory=list)

    def settle(self, answer: "tuple[EventId, ...] | MatrixError | EventsMissing") -> None:
        for item in self.sharing:
            item.settle(answer)
        if self.done.done():
            return
        if isinstance(answer, Exception):
            self.done.set_exception(answer)
        else:
            self.done.set_result(answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomNames:
    """What a new room is called on this server, and whether the public directory lists it."""

    aliases: tuple[RoomAlias, ...] = ()
    is_published: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedRoom:
    """A room that was made, and its events in order."""

    room_id: RoomId
    event_ids: tuple[EventId, ...]


@dataclass(slots=True)
class RoomQueues:
    """Queues of all rooms in which something waits."""

    store: Store
    heads: RoomHeads
    parsed: ParsedEvents
    receiver: Receiver
    outcomes: EventOutcomes
    gate: TrustGate
    author: Author
    now_ms: Callable[[], int]
    policy: PolicyCheck | None = None
    on_received: Callable[[RoomHead], None] = lambda head: None
    options: QueueOptions = field(default_factory=QueueOptions)
    _created_ms: int = 0
    _waiting: dict[RoomId, deque[_Waiting]] = field(default_factory=dict)
    _tasks: dict[RoomId, "asyncio.Task[None]"] = field(default_factory=dict)

    async def submit(self, room_id: RoomId, group: Group) -> tuple[EventId, ...]:
        """Have the group decided and committed; the ids of its events, of what arrives those that became visible.

        Raises `NotFound` for an unknown room, `Forbidden` where the rules, the trust gate or the room's policy server
        refuse, `LimitExceeded` when too much waits, and for what arrives `EventsMissing`.
        """
        if isinstance(group, DraftGroup):
            await self.ask_gate(group.drafts)
        elif isinstance(group, Incoming) and self.policy is not None:
            head = await self.heads.get(room_id)
            group = group if head is None else await self.policy.judge(head, group)
        waiting = self._waiting.setdefault(room_id, deque())
        if len(waiting) >= self.options.waiting_max:
            raise LimitExceeded("Too much is being sent to this room; try again", retry_after_ms=1000)
        item = _Waiting(group, asyncio.get_running_loop().create_future())
        waiting.append(item)
        if room_id not in self._tasks:
            self._tasks[room_id] = asyncio.create_task(self._work(room_id), name="room-queue")
        return await item.done

    async def propose(self, room_id: RoomId, group: DraftGroup) -> Event | EventId:
        """The event that the group's only draft makes, authorised and signed but not committed, so that another server
        can sign it; or the id of the event in place that makes it needless. Raises what `submit` raises."""
        await self.ask_gate(group.drafts)
        made: list[Event] = []

        async def decide(head: RoomHead) -> Decision:
            check_takes(head, group)
            decision = await self._decide_drafts(head, [group])
            made[:] = decision.events
            return replace(decision, commit=None, head=head)

        (event_id,) = await self.submit(room_id, DecidedAlone(decide=decide))
        head = await self.heads.get(room_id)
        if made and head is not None and self.policy is not None:
            return await self.policy.sign_one(head, made[0])
        return made[0] if made else event_id

    async def create(
        self,
        room_id: RoomId | None,
        version: RoomVersion,
        group: DraftGroup,
        names: RoomNames,
        *,
        sign: Callable[[Decision], Awaitable[Decision]] | None = None,
    ) -> CreatedRoom:
        """Make a room of the group's events, in one commit; `room_id` None: the create event's hash (since v12). `sign`
        has other servers add what is theirs: signatures, and invites of addresses.

        Raises `Forbidden` where the rules refuse one of them, `RoomInUse` where an alias is taken; nothing is stored
        then.
        """
        await self.ask_gate(group.drafts)
        now_ms = self.now_ms()
        for attempt in range(CREATE_ATTEMPTS):
            # Since v12 two rooms that one user makes in the same millisecond would have the same id.
            self._created_ms = max(self._created_ms + 1, now_ms + attempt)
            decision = await self.decide_new(room_id, version, group, self._created_ms)
            if sign is not None:
                decision = await sign(decision)
            assert decision.commit is not None
            commit = replace(
                decision.commit,
                creator=group.drafts[0].sender,
                aliases=names.aliases,
                is_published=names.is_published,
            )
            try:
                placed = await self.store.writer.commit_room(commit)
            except DuplicateKey:
                continue
            self.heads.put(replace(decision.head, head_version=placed.last_position))
            (answer,) = decision.answers
            assert not isinstance(answer, MatrixError)
            return CreatedRoom(room_id=decision.head.room_id, event_ids=answer)
        raise Unavailable("The room could not be made; try again")

    async def decide_new(
        self, room_id: RoomId | None, version: RoomVersion, group: DraftGroup, now_ms: int
    ) -> Decision:
        """The decision on a new room; the same create event at the same time makes the same room id (since v12)."""
        nids = iter(await self.store.writer.take_nids(1 + 2 * len(group.drafts)))
        head = new_room_head(next(nids), room_id or RoomId(""), version)
        decision = Decider(author=self.author, now_ms=now_ms, nids=nids).decide(head, [group], {})
        (answer,) = decision.answers
        if isinstance(answer, MatrixError):
            raise answer
        return await self.outcomes.add_to(decision)

    async def ask_gate(self, drafts: Iterable[Draft]) -> None:
        """Raise `Forbidden` for drafts that would bring in servers which the trust gate refuses."""
        named = servers_named(drafts)
        if named:
            await self.gate.require(ChokePoint.EVENT_CREATION, named)

    async def close(self) -> None:
        """Finish what waits."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def _work(self, room_id: RoomId) -> None:
        waiting = self._waiting[room_id]
        try:
            while waiting:
                batch = self._take(waiting)
                try:
                    await self._process(room_id, batch)
                except (MatrixError, EventsMissing) as error:
                    for item in batch:
                        item.settle(error)
                except Exception as error:
                    log.exception("a room's drafts could not be processed", room_id=room_id)
                    for item in batch:
                        item.settle(Unavailable() if isinstance(error, CONNECTION_FAILURES) else RoomBroken())
        finally:
            del self._waiting[room_id], self._tasks[room_id]

    def _take(self, waiting: deque[_Waiting]) -> list[_Waiting]:
        """What is decided at once: many drafts, or one group of another kind."""
        batch = [waiting.popleft()]
        if not isinstance(batch[0].group, DraftGroup) or batch[0].group.is_hidden:
            return batch
        count = len(batch[0].group.drafts)
        while waiting and isinstance(waiting[0].group, DraftGroup) and not waiting[0].group.is_hidden:
            count += len(waiting[0].group.drafts)
            if count > self.options.drafts_per_decision_max:
                break
            batch.append(waiting.popleft())
        return batch

    async def _process(self, room_id: RoomId, batch: list[_Waiting]) -> None:
        for _ in range(self.options.attempts_max):
            head, batch = admitted(await self.heads.get(room_id), batch)
            if not batch:
                return
            decision = await self._decide(head, batch)
            refused: Mapping[EventId, MatrixError] = {}
            if self.policy is not None and not isinstance(batch[0].group, Incoming):
                decision, refused = await self.policy.sign_own(head, decision)
            if refused:
                batch = _without_refused(batch, decision.answers, refused)
            else:
                batch = await self._commit(head, batch, await self.outcomes.add_to(decision))
            if not batch:
                return
        raise Unavailable("The room is changing too quickly; try again")

    async def _commit(self, head: RoomHead, batch: list[_Waiting], decision: Decision) -> list[_Waiting]:
        """What must be decided again: nothing, unless the head has moved."""
        if decision.commit is None:
            if await self.heads.is_current(head):
                _settle(batch, await self._with_known(batch, decision.answers))
                return []
            self.heads.forget(head.room_id)
            return batch
        try:
            placed = await self.store.writer.commit_room(decision.commit)
        except (HeadMoved, DuplicateKey):  # or one of the events has been stored meanwhile, as an outlier
            self.heads.forget(head.room_id)
            return batch
        except TransactionKnown:
            return await self._answer_known(batch)
        except Exception:
            self.heads.forget(head.room_id)
            raise
        head = replace(decision.head, head_version=placed.last_position)
        self.heads.put(head)
        _settle(batch, await self._with_known(batch, decision.answers))
        if isinstance(batch[0].group, Incoming):
            self.on_received(head)
        return []

    async def _decide(self, head: RoomHead, batch: Sequence[_Waiting]) -> Decision:
        decision = await self._decide_all(head, batch)
        nid = head.state.get(SERVER_ACL)
        if nid is None and not changes_access(decision):
            return decision
        access_list = None if nid is None else (await self.parsed.load([nid], head.version))[nid].content
        return withheld_from_denied(decision, access_list)

    async def _decide_all(self, head: RoomHead, batch: Sequence[_Waiting]) -> Decision:
        if isinstance(batch[0].group, Incoming):
            decision = await self.receiver.decide(head, batch[0].group)
            return relayed(decision, head, self.author.server_name) if batch[0].group.is_relayed else decision
        if isinstance(batch[0].group, DecidedAlone):
            return await batch[0].group.decide(head)
        return await self._decide_drafts(head, [item.group for item in batch if isinstance(item.group, DraftGroup)])

    async def _decide_drafts(self, head: RoomHead, groups: Sequence[DraftGroup]) -> Decision:
        nids = {nid for key in needed_keys(head, groups) if (nid := head.state.get(key)) is not None}
        known = await self.parsed.load(nids, head.version)
        redacted = await self._load_redacted(head, groups)
        drafts = (draft for group in groups for draft in group.drafts)
        related = await load_related(self.store.database, self.store.codec, head.nid, drafts)
        fresh = await self.store.writer.take_nids(2 * sum(len(group.drafts) for group in groups))
        decider = Decider(author=self.author, now_ms=self.now_ms(), nids=iter(fresh))
        return decider.decide(head, groups, known, redacted, related)

    async def _load_redacted(self, head: RoomHead, groups: Sequence[DraftGroup]) -> set[int]:
        """Those redacted of the state events that may make a group needless: what can change is read each time."""
        keys = {(group.drafts[0].type, group.drafts[0].state_key or "") for group in groups if group.unless is not None}
        nids = [nid for key in keys if (nid := head.state.get(key)) is not None]
        if not nids:
            return set()
        async with self.store.database.connection() as connection:
            return await load_redacted(connection, nids)

    async def _with_known(self, batch: Sequence[_Waiting], answers: Sequence[Answer]) -> list[Answer]:
        """The answers, where a repeated request is told of the event that it made before, though it is refused now: its
        sender may have left since."""
        refused = [item for item, answer in zip(batch, answers, strict=True) if isinstance(answer, MatrixError)]
        known = await self._load_known(refused)
        told: list[Answer] = []
        for item, answer in zip(batch, answers, strict=True):
            key = _transaction_of(item)
            told.append((known[key],) if isinstance(answer, MatrixError) and key in known else answer)
        return told

    async def _load_known(self, batch: Sequence[_Waiting]) -> dict[TransactionKey, EventId]:
        transactions = [key for item in batch if (key := _transaction_of(item)) is not None]
        keys: dict[tuple[str, str, bytes], TransactionKey] = {
            (key.user_id, key.device_id, key.key_hash): key for key in transactions
        }
        if not keys:
            return {}
        async with self.store.database.connection() as connection:
            known = await load_known_transactions(connection, list(keys))
        return {keys[found]: event_id for found, event_id in known.items()}

    async def _answer_known(self, batch: list[_Waiting]) -> list[_Waiting]:
        """Answer what was sent before with the event that it made then; what is left to decide.

        Of two waiting groups with the same transaction, the second shares the answer of the first.
        """
        known = await self._load_known(batch)
        left: list[_Waiting] = []
        first: dict[TransactionKey, _Waiting] = {}
        for item in batch:
            key = _transaction_of(item)
            if key is None:
                left.append(item)
            elif key in known:
                item.settle((known[key],))
            elif key in first:
                first[key].sharing.append(item)
            else:
                first[key] = item
                left.append(item)
        return left


def _transaction_of(item: _Waiting) -> TransactionKey | None:
    return item.group.transaction if isinstance(item.group, DraftGroup) else None


def _without_refused(
    batch: Sequence[_Waiting], answers: Sequence[Answer], refused: Mapping[EventId, MatrixError]
) -> list[_Waiting]:
    """Answer those of whose events the policy server is against one; those left are decided again without them."""
    left = []
    for item, answer in zip(batch, answers, strict=True):
        error = None if isinstance(answer, MatrixError) else next((refused[e] for e in answer if e in refused), None)
        if error is None:
            left.append(item)
        else:
            item.settle(error)
    return left


def _settle(batch: Sequence[_Waiting], answers: Sequence[Answer]) -> None:
    for item, answer in zip(batch, answers, strict=True):
        item.settle(answer)
