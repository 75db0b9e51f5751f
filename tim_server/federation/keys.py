"""The keys that other servers sign with: fetched from them, or else from notaries; kept; and used to verify what they
have signed.

Spec: https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from time import monotonic
from typing import Any, TypeVar

import structlog

from tim_server.egress.errors import GateRefused, OutgoingError
from tim_server.federation.client import FederationClient
from tim_server.federation.errors import RemoteError
from tim_server.federation.fetch_keys import fetch_from_notary, fetch_keys
from tim_server.federation.in_flight import InFlight
from tim_server.federation.key_memory import KeyMemory, KnownKeys, Wanted
from tim_server.matrix.errors import BadSignature
from tim_server.matrix.events.record import Event
from tim_server.matrix.events.signatures import required_signers, verify_event_signature, verify_json
from tim_server.matrix.identifiers import EventId, ServerName
from tim_server.matrix.server_keys import TIME_MS_MAX, ServerKey, ServerKeys

KEY_IDS_MAX = 20
FETCHES_AT_ONCE_MAX = 200
STRANGERS_AT_ONCE_MAX = 40
"""Of those, how many because a request says to be of the server: anybody can make up names, also such as no name server
answers for, and what is needed for events must not wait behind that."""
PAUSE_MS = 10_000
"""How long at least a server is not asked again."""
REFRESH_PAUSE_MS = 60_000
"""The same where nothing is lacking, only growing old."""
REFRESH_MS_MAX = 24 * 3600 * 1000
"""For how long after its document has expired a server is asked anew without need."""
FAILURE_PAUSE_MS_MIN, FAILURE_PAUSE_MS_MAX = 30_000, 600_000
WAIT_S = 20.0
"""How long is waited for keys of servers that do not answer."""
TURN_S = 0.005
"""For how long signatures are verified until others get a turn."""
THREADS = 2
PER_THREAD = 100
"""How many signatures a thread verifies in one go; fewer are verified where they are."""

T = TypeVar("T")

_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="verify")

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class KeyRing:
    """Verify keys of other servers, and of our own; `own_old_keys` are those that we once signed with."""

    client: FederationClient
    memory: KeyMemory
    now_ms: Callable[[], int]
    own_old_keys: ServerKeys = field(default_factory=dict)
    notaries: Sequence[ServerName] = ()
    wait_s: float = WAIT_S
    _fetches: InFlight[ServerName, None] = field(default_factory=lambda: InFlight(name="fetch-keys"))
    _strangers: "set[asyncio.Task[None]]" = field(default_factory=set)
    _free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(FETCHES_AT_ONCE_MAX))

    async def keys_of(
        self, server_name: ServerName, key_ids: Collection[str], *, valid_at_ms: int | None
    ) -> dict[str, bytes]:
        """Those of the server's keys that were valid at a time (None: ever), by key id: 32 bytes each. Fetched where
        they are not known; empty where they can't be had."""
        known = await self._have({server_name: [(tuple(key_ids), valid_at_ms)]})
        return known[server_name].usable(key_ids, valid_at_ms)

    async def keys_of_now(self, server_name: ServerName, key_ids: Collection[str]) -> dict[str, bytes]:
        """Those of the keys of another server that it signs requests with now. It is asked for them also where that has
        failed before, as it seems to be there; not while very many are asked that seem to be."""
        now_ms = self.now_ms()
        known = (await self.memory.load([server_name]))[server_name]
        if known.lacks([(tuple(key_ids), now_ms)]):
            await self._await(self._ask_stranger(server_name, known), self.wait_s)
        elif self._is_due(known):
            self._ask_where_due({server_name: known}, pause_ms_min=REFRESH_PAUSE_MS)
        return known.in_use(key_ids, now_ms)

    async def prepare(self, wanted: Mapping[ServerName, Collection[str]], *, timeout_s: float) -> None:
        """Have keys of many servers fetched that are not known, as far as they can be had in time."""
        one_by_one: dict[ServerName, Wanted] = {name: [((each,), None) for each in ids] for name, ids in wanted.items()}
        await self._have(one_by_one, wait_s=timeout_s)

    async def verify(self, value: Mapping[str, Any], server_name: ServerName, *, valid_at_ms: int) -> None:
        """Raises `BadSignature` unless the server has signed the JSON object with a key that was valid then."""
        keys = await self.keys_of(server_name, _signed_with(value, server_name), valid_at_ms=valid_at_ms)
        reason = _refusal(keys, server_name, partial(verify_json, value, server_name))
        if reason is not None:
            raise BadSignature(reason)

    async def unverified(self, events: Sequence[Event]) -> dict[EventId, str]:
        """Why events are not signed by all servers that must have signed them, by event id; those that are not named
        are. Keys of servers that are not known are fetched side by side."""
        reasons: dict[EventId, str] = {}
        signatures: list[tuple[Event, ServerName]] = []
        wanted: dict[ServerName, set[tuple[tuple[str, ...], int | None]]] = {}
        async for event in _in_turns(events):
            try:
                signers = required_signers(event)
            except BadSignature as error:
                reasons[event.event_id] = str(error)
                continue
            for server in signers:
                signatures.append((event, server))
                wanted.setdefault(server, set()).add((_signed_with(event.pdu, server), _valid_at(event)))
        refusals = partial(_refusals, await self._have(wanted))
        if len(signatures) <= PER_THREAD:
            async for each in _in_turns(signatures):
                reasons |= refusals([each])
            return reasons
        run = partial(asyncio.get_running_loop().run_in_executor, _threads, refusals)
        starts = range(0, len(signatures), PER_THREAD)
        for refused in await asyncio.gather(*(run(signatures[start : start + PER_THREAD]) for start in starts)):
            reasons |= refused
        return reasons

    async def has_any_of(self, server_name: ServerName) -> bool:
        """Whether any keys of another server are known, which is asked for them unless that was done just now: for who
        asks seldom. Raises `ContactRefused` where the trust gate refuses it."""
        await self.client.outgoing.admit(server_name)
        known = (await self.memory.load([server_name]))[server_name]
        if not known.keys:
            await self._await(self._ask_where_due({server_name: known}, pause_ms_max=PAUSE_MS), self.wait_s)
        return bool(known.keys)

    async def document_of(self, server_name: ServerName, *, valid_until_ms: int) -> bytes | None:
        """The newest document of another server, for those who ask this one as a notary; fetched anew where it is good
        for less than wanted. None where there is none. Raises `ContactRefused` where the trust gate refuses it."""
        await self.client.outgoing.admit(server_name)
        known = (await self.memory.load([server_name]))[server_name]
        if known.valid_until_ts < valid_until_ms:
            await self._await(self._ask_where_due({server_name: known}), self.wait_s)
        return await self.memory.document(server_name)

    async def _have(
        self, wanted: Mapping[ServerName, Wanted], *, wait_s: float | None = None
    ) -> Mapping[ServerName, KnownKeys]:
        """What is known of these servers, once those have been asked whose keys are lacking."""
        own = self.client.author.server_name
        known = dict(await self.memory.load([name for name in wanted if name != own]))
        lacking = {name: each for name, each in known.items() if each.lacks(wanted[name])}
        growing_old = {name: each for name, each in known.items() if name not in lacking and self._is_due(each)}
        self._ask_where_due(growing_old, pause_ms_min=REFRESH_PAUSE_MS)
        await self._await(self._ask_where_due(lacking), wait_s or self.wait_s)
        return {**known, own: self._own()} if own in wanted else known

    def _own(self) -> KnownKeys:
        key = self.client.author.key
        return KnownKeys(
            keys={**self.own_old_keys, key.key_id: ServerKey(verify_key=key.verify_key, valid_until_ts=TIME_MS_MAX)}
        )

    def _is_due(self, known: KnownKeys) -> bool:
        """Whether half of the document's life is over, unless that was long ago: the server may be gone."""
        half_ts = (known.fetched_ts + known.valid_until_ts) // 2
        return half_ts < self.now_ms() < known.valid_until_ts + REFRESH_MS_MAX

    def _ask_where_due(
        self,
        servers: Mapping[ServerName, KnownKeys],
        *,
        pause_ms_min: int = PAUSE_MS,
        pause_ms_max: int = FAILURE_PAUSE_MS_MAX,
    ) -> "set[asyncio.Task[None]]":
        """Ask those servers that were not asked just now: what is to be waited for, also where somebody else asks."""
        now_ms = self.now_ms()
        return {
            self._fetches.begin(name, partial(self._ask, name, known))
            for name, known in servers.items()
            if name in self._fetches
            or known.asked_ts is None
            or abs(now_ms - known.asked_ts) >= max(min(_pause_ms(known), pause_ms_max), pause_ms_min)
        }

    def _ask_stranger(self, server_name: ServerName, known: KnownKeys) -> "set[asyncio.Task[None]]":
        """As `_ask_where_due`, where nothing but the request says that there is such a server."""
        if server_name not in self._fetches and len(self._strangers) >= STRANGERS_AT_ONCE_MAX:
            return set()
        tasks = self._ask_where_due({server_name: known}, pause_ms_max=PAUSE_MS)
        for task in tasks - self._strangers:
            self._strangers.add(task)
            task.add_done_callback(self._strangers.discard)
        return tasks

    async def _await(self, tasks: "set[asyncio.Task[None]]", wait_s: float) -> None:
        if tasks:
            done, _ = await asyncio.wait(tasks, timeout=wait_s)
            for task in done:
                task.result()

    async def _ask(self, server_name: ServerName, known: KnownKeys) -> None:
        """Ask the server, or else the notaries; those are asked for their own keys only themselves."""
        known.asked_ts = now_ms = self.now_ms()
        try:
            async with self._free:
                document = await fetch_keys(self.client, server_name, now_ms=now_ms)
        except GateRefused:
            known.failures += 1
            return
        except (OutgoingError, RemoteError, BadSignature) as error:
            log.info("keys of another server can't be had", server=server_name, reason=str(error))
        else:
            await self.memory.take(server_name, known, document, now_ms=now_ms, is_direct=True)
            known.failures = 0
            return
        is_told = server_name not in self.notaries and await self._ask_notaries(server_name, known)
        known.failures = 0 if is_told else known.failures + 1

    async def _ask_notaries(self, server_name: ServerName, known: KnownKeys) -> bool:
        """Take in what the first notary tells that knows the server; whether there is one."""
        now_ms = self.now_ms()
        for notary in self.notaries:
            is_told = False
            try:
                for document in await fetch_from_notary(self.client, notary, server_name, now_ms=now_ms):
                    await self.verify(document.value, notary, valid_at_ms=now_ms)
                    await self.memory.take(server_name, known, document, now_ms=now_ms, is_direct=False)
                    is_told = True
            except (OutgoingError, RemoteError, BadSignature) as error:
                log.info("a notary did not help", notary=notary, server=server_name, reason=str(error))
            if is_told:
                return True
        return False


def _pause_ms(known: KnownKeys) -> int:
    """How long a server is not asked again."""
    if known.failures == 0:
        return PAUSE_MS
    doubled: int = FAILURE_PAUSE_MS_MIN * 2 ** min(known.failures - 1, 10)
    return min(doubled, FAILURE_PAUSE_MS_MAX)


def _valid_at(event: Event) -> int | None:
    """When the keys must have been valid that the event is signed with; None where its room version does not ask."""
    return event.origin_server_ts if event.room_version.enforces_key_validity else None


def _refusals(
    known: Mapping[ServerName, KnownKeys], signatures: Iterable[tuple[Event, ServerName]]
) -> dict[EventId, str]:
    """Why events are not signed by servers, by event id: those whose signatures do not verify."""
    refused = {}
    for event, server in signatures:
        keys = known[server].usable(_signed_with(event.pdu, server), _valid_at(event))
        verify = partial(verify_event_signature, event.pdu, event.room_version, server)
        if (reason := _refusal(keys, server, verify)) is not None:
            refused[event.event_id] = reason
    return refused


def _refusal(keys: Mapping[str, bytes], server: ServerName, verify: Callable[[str, bytes], None]) -> str | None:
    """Why none of the keys verifies the signature."""
    reason = f"no key of {server} that could verify the signature is known"
    for key_id, verify_key in keys.items():
        try:
            verify(key_id, verify_key)
        except BadSignature as error:
            reason = str(error)
        else:
            return None
    return reason


def _signed_with(value: Mapping[str, Any], server_name: str) -> tuple[str, ...]:
    """Ids of the keys with which the server says to have signed."""
    signatures = value.get("signatures")
    of_server = signatures.get(server_name) if isinstance(signatures, dict) else None
    return tuple(islice(of_server, KEY_IDS_MAX)) if isinstance(of_server, dict) else ()


async def _in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """The items in order; others get a turn whenever some of them have taken their time."""
    began = monotonic()
    for item in items:
        yield item
        if monotonic() - began > TURN_S:
            await asyncio.sleep(0)
            began = monotonic()
