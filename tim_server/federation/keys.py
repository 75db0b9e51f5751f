"""The keys that other servers sign with: fetched from them, or else from notaries; kept; and used to verify what they
have signed.

Spec: https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from tim_server.egress.errors import ContactRefused, OutgoingError
from tim_server.federation.client import FederationClient, RequestBounds
from tim_server.federation.errors import RemoteError
from tim_server.federation.fetch_keys import FetchedKeys, fetch_from_notary, fetch_keys
from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.matrix.errors import BadSignature, Unavailable
from tim_server.matrix.events.record import Event
from tim_server.matrix.events.signatures import required_signers, verify_event_signature, verify_json
from tim_server.matrix.identifiers import EventId, ServerName
from tim_server.matrix.server_keys import ServerKeys, merged
from tim_server.storage.server_keys import StoredDocument, load_server_keys, put_server_keys
from tim_server.storage.store import Store

KEY_IDS_MAX = 20
SERVERS_REMEMBERED_MAX = 5_000
FETCHES_AT_ONCE_MAX = 50
RETRY_S_MIN, RETRY_S_MAX = 10.0, 600.0
EVENTS_PER_TURN = 25
BOUNDS = RequestBounds(timeout_s=10.0, size_bytes_max=65_536)

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class _Known:
    """What is known of a server: its keys, its newest document, and when it may be asked again."""

    keys: ServerKeys
    document: StoredDocument | None
    failures: int = 0
    ask_again_ms: int = 0


def believe_all(_server_name: ServerName, _finding: str | None) -> bool:
    """Where no certificate stands for an organisation, keys are believed however they came."""
    return True


@dataclass(slots=True, kw_only=True)
class KeyRing:
    """Verify keys of other servers, and of our own. `is_vouched` says whether keys may stand for their server now, by
    what was found about the connection that they came by (None: they came through a notary); it is asked for what a
    server says now, not for what it signed before."""

    client: FederationClient
    store: Store
    now_ms: Callable[[], int]
    own_old_keys: ServerKeys = field(default_factory=dict)
    notaries: Sequence[ServerName] = ()
    is_vouched: Callable[[ServerName, str | None], bool] = believe_all
    _known: "OrderedDict[ServerName, _Known]" = field(default_factory=OrderedDict)
    _fetches: "dict[ServerName, asyncio.Task[None]]" = field(default_factory=dict)
    _free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(FETCHES_AT_ONCE_MAX))

    async def keys_of(
        self, server_name: ServerName, key_ids: Collection[str], *, valid_at_ms: int | None
    ) -> dict[str, bytes]:
        """Those of the server's keys that were valid at a time (None: ever), by key id: 32 bytes each. Fetched where
        they are not known; empty where they can't be had."""
        return await self._keys_of(server_name, key_ids, valid_at_ms, now=False)

    async def keys_of_now(self, server_name: ServerName, key_ids: Collection[str]) -> dict[str, bytes]:
        """Those of the server's keys that are valid now, and vouched for, so that it may be believed to be there."""
        return await self._keys_of(server_name, key_ids, self.now_ms(), now=True)

    async def verify(self, value: Mapping[str, Any], server_name: ServerName, *, valid_at_ms: int) -> None:
        """Raises `BadSignature` unless the server has signed the JSON object with a key that was valid then."""
        keys = await self.keys_of(server_name, _key_ids(value, server_name), valid_at_ms=valid_at_ms)
        error: BadSignature | None = None
        for key_id, verify_key in keys.items():
            try:
                verify_json(value, server_name, key_id, verify_key)
            except BadSignature as wrong:
                error = wrong
            else:
                return
        raise error or BadSignature(f"no key of {server_name} that could verify the signature is known")

    async def unverified(self, events: Sequence[Event]) -> dict[EventId, str]:
        """Why events are not signed by all servers that must have signed them, by event id; those that are not named
        are. Keys of servers that are not known are fetched side by side."""
        reasons: dict[EventId, str] = {}
        signers: dict[EventId, set[ServerName]] = {}
        wanted: dict[ServerName, set[str]] = {}
        for event in events:
            try:
                signers[event.event_id] = required_signers(event)
            except BadSignature as error:
                reasons[event.event_id] = str(error)
                continue
            for server in signers[event.event_id]:
                wanted.setdefault(server, set()).update(_key_ids(event.pdu, server))
        await asyncio.gather(*(self.keys_of(server, ids, valid_at_ms=None) for server, ids in wanted.items()))
        for number, event in enumerate(events):
            if number and number % EVENTS_PER_TURN == 0:
                await asyncio.sleep(0)
            for server in signers.get(event.event_id, ()):
                reason = await self._refusal(event, server)
                if reason is not None:
                    reasons[event.event_id] = reason
        return reasons

    async def document_of(self, server_name: ServerName, *, valid_until_ms: int) -> bytes | None:
        """The newest document of another server, for those who ask this one as a notary; fetched anew where it is good
        for less than wanted. None where there is none. Raises `ContactRefused` where the trust gate refuses it."""
        await self.client.outgoing.admit(server_name)
        known = await self._load(server_name)
        if known.document is None or known.document.valid_until_ts < valid_until_ms:
            await self._fetch(server_name)
            known = await self._load(server_name)
        return None if known.document is None else known.document.document

    async def _refusal(self, event: Event, server: ServerName) -> str | None:
        """Why the server has not signed the event as it must."""
        at_ms = event.origin_server_ts if event.room_version.enforces_key_validity else None
        keys = await self.keys_of(server, _key_ids(event.pdu, server), valid_at_ms=at_ms)
        reason = f"no key of {server} that could verify the signature is known"
        for key_id, verify_key in keys.items():
            try:
                verify_event_signature(event.pdu, event.room_version, server, key_id, verify_key)
            except BadSignature as error:
                reason = str(error)
            else:
                return None
        return reason

    async def _keys_of(
        self, server_name: ServerName, key_ids: Collection[str], at_ms: int | None, *, now: bool
    ) -> dict[str, bytes]:
        author = self.client.author
        if server_name == author.server_name:
            old = _usable(self.own_old_keys, key_ids, at_ms)
            return {**old, author.key.key_id: author.key.verify_key}
        known = await self._load(server_name)
        found = _usable(known.keys, key_ids, at_ms)
        if not found.keys() >= {*key_ids} or (now and not self._is_vouched(server_name, known)):
            await self._fetch(server_name)
            known = await self._load(server_name)
            found = _usable(known.keys, key_ids, at_ms)
        elif self._is_due(known):
            await self._begin_fetch(server_name)
        return found if not now or self._is_vouched(server_name, known) else {}

    def _is_vouched(self, server_name: ServerName, known: _Known) -> bool:
        return known.document is not None and self.is_vouched(server_name, known.document.finding)

    def _is_due(self, known: _Known) -> bool:
        """Whether the document has expired, or soon will: half of its life is over."""
        document = known.document
        return document is None or self.now_ms() > (document.fetched_ts + document.valid_until_ts) // 2

    async def _load(self, server_name: ServerName) -> _Known:
        known = self._known.get(server_name)
        if known is None:
            async with self.store.database.connection() as connection:
                stored = await load_server_keys(connection, server_name)
            known = self._known.setdefault(server_name, _Known(keys=stored.keys, document=stored.document))
            while len(self._known) > SERVERS_REMEMBERED_MAX:
                self._known.popitem(last=False)
        self._known.move_to_end(server_name)
        return known

    async def _fetch(self, server_name: ServerName) -> None:
        """Ask the server, or else the notaries, unless that was done just now."""
        task = await self._begin_fetch(server_name)
        if task is not None:
            await asyncio.shield(task)

    async def _begin_fetch(self, server_name: ServerName) -> "asyncio.Task[None] | None":
        """Asking, which whoever needs the same waits for; None where it was done just now."""
        known = await self._load(server_name)
        task = self._fetches.get(server_name)
        if task is None and known.ask_again_ms <= self.now_ms():
            task = self._fetches[server_name] = asyncio.create_task(self._ask(server_name), name="fetch-keys")
            task.add_done_callback(lambda _: self._fetches.pop(server_name, None))
        return task

    async def _ask(self, server_name: ServerName) -> None:
        known = await self._load(server_name)
        async with self._free:
            fetched = await self._ask_all(server_name)
        if fetched is None:
            known.failures += 1
            pause_s = min(RETRY_S_MIN * 2 ** min(known.failures - 1, 10), RETRY_S_MAX)
            known.ask_again_ms = self.now_ms() + int(pause_s * 1000)
            return
        await self._keep(server_name, known, fetched)

    async def _ask_all(self, server_name: ServerName) -> FetchedKeys | None:
        try:
            return await fetch_keys(self.client, server_name, now_ms=self.now_ms(), bounds=BOUNDS)
        except ContactRefused:
            return None
        except (OutgoingError, RemoteError, BadSignature) as error:
            log.info("keys of another server can't be had", server=server_name, reason=str(error))
        for notary in self.notaries:
            try:
                fetched = await fetch_from_notary(self.client, notary, server_name, now_ms=self.now_ms(), bounds=BOUNDS)
                await self.verify(fetched.document.value, notary, valid_at_ms=self.now_ms())
            except (OutgoingError, RemoteError, BadSignature) as error:
                log.info("a notary did not help", notary=notary, server=server_name, reason=str(error))
            else:
                return fetched
        return None

    async def _keep(self, server_name: ServerName, known: _Known, fetched: FetchedKeys) -> None:
        known.keys = merged(known.keys, fetched.document.keys)
        known.document = StoredDocument(
            document=encode_relaxed(fetched.document.value),
            fetched_ts=self.now_ms(),
            valid_until_ts=fetched.document.valid_until_ts,
            finding=fetched.finding,
        )
        known.failures, known.ask_again_ms = 0, self.now_ms() + int(RETRY_S_MIN * 1000)
        try:
            async with self.store.database.transaction() as tx:
                await put_server_keys(tx, server_name, known.keys, known.document)
        except Unavailable:
            log.warning("keys of another server could not be kept", server=server_name)


def _usable(known: ServerKeys, key_ids: Collection[str], at_ms: int | None) -> dict[str, bytes]:
    keys = ((key_id, known.get(key_id)) for key_id in key_ids)
    return {key_id: key.verify_key for key_id, key in keys if key is not None and key.was_valid(at_ms)}


def _key_ids(value: Mapping[str, Any], server_name: str) -> list[str]:
    """Ids of the keys with which the server says to have signed."""
    signatures = value.get("signatures")
    of_server = signatures.get(server_name) if isinstance(signatures, dict) else None
    return [k for k in of_server if isinstance(k, str)][:KEY_IDS_MAX] if isinstance(of_server, dict) else []
