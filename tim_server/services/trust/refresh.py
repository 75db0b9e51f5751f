"""Keeping the directory: fetched at an interval, and once more for a server that nobody knows; the last good copy stays
in force, in the database, whatever happens to its source.

One process fetches (it claims the attempt in the database), the others find what it stored: the commit log tells them,
and they look whenever an attempt would be due.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog

from tim_server.egress.errors import OutgoingError
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.trust.decisions import DecisionLog
from tim_server.services.trust.knowledge import DirectoryCopy, SourceStatus, TrustKnowledge, changes_between
from tim_server.storage.audit_log import COMMAND_LINE, AuditEntry, append_audit
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import Connection
from tim_server.storage.store import Store
from tim_server.storage.trust_directory import (
    TRUST,
    DirectoryDocument,
    claim_attempt,
    load_directory,
    note_checked,
    note_problem,
    store_directory,
)
from tim_server.trust.chains import Chain
from tim_server.trust.directory import DirectoryRefused
from tim_server.trust.publication import directory_request_url
from tim_server.trust.revocation import NOTHING_KNOWN, RevocationData
from tim_server.trust.signed_directory import (
    AcceptedVersion,
    SignedDirectory,
    SignerRules,
    Succession,
    check_signer,
    check_succession,
    verify_directory,
)

RETRY_INTERVAL_MS = 60_000
"""After a failure, unless the interval is shorter anyway."""
WAIT_FOR_UNKNOWN_S = 10.0
WAITING_FOR_UNKNOWN_MAX = 100
"""How long, and how many, requests wait for a directory that might list their server: anybody can make them."""

_log = structlog.get_logger("trust")

Fetch = Callable[[str], Awaitable[bytes | None]]
"""The document at a URL; None where the other side has nothing newer. Raises OutgoingErrors."""


async def _nothing_known(_chain: Chain) -> RevocationData:
    return NOTHING_KNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectorySource:
    """A signed directory: where it is published, who may sign it, how often to look."""

    name: str
    urls: tuple[str, ...]
    rules: SignerRules
    refresh_interval_ms: int
    unknown_server_interval_ms: int

    @property
    def retry_interval_ms(self) -> int:
        """How long to wait after a failure."""
        return min(self.refresh_interval_ms, RETRY_INTERVAL_MS)


@dataclass(slots=True, kw_only=True)
class DirectoryRefresh:
    """Fetches the directory of one source, stores it, and puts it in force."""

    source: DirectorySource
    store: Store
    fetch: Fetch
    knowledge: TrustKnowledge
    decisions: DecisionLog
    now_ms: Callable[[], int]
    revocation: Callable[[Chain], Awaitable[RevocationData]] = _nothing_known
    status: SourceStatus = field(default_factory=SourceStatus)
    failure_count: int = 0
    _is_behind: bool = False
    _refused_generation: int = 0
    _waiting: int = 0
    _attempt: "asyncio.Task[None] | None" = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def follow(self, entry: CommitEntry) -> None:
        """Another process, or this one, may have stored a directory."""
        if TRUST in entry.servers.get(self.knowledge.own_name, ()):
            self._is_behind = True

    def look(self) -> None:
        """What is in the database may be something else than what was there."""
        self._is_behind = True

    async def tick(self) -> None:
        """Do what is due: follow other processes, fetch. Called often."""
        if self._is_behind:
            await self.load()
        if self._is_due(self._pause_ms()):
            await self._share_attempt(self._pause_ms())

    async def look_again(self) -> None:
        """A server is not known: fetch once more, unless that was done a short time ago. Waits for a while only; never
        raises."""
        pause_ms = self.source.unknown_server_interval_ms
        is_fetching = self._attempt is not None and not self._attempt.done()
        if not is_fetching and not self._is_due(pause_ms):
            return
        if self._waiting >= WAITING_FOR_UNKNOWN_MAX:
            return
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT_FOR_UNKNOWN_S):
                await self._share_attempt(pause_ms)
        except TimeoutError:
            return
        except Exception as error:  # the loop that refreshes meets it as well, and says more
            _log.warning("directory_not_refreshed", source=self.source.name, reason=type(error).__name__)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Give up what is being fetched."""
        if self._attempt is not None:
            self._attempt.cancel()
            await asyncio.wait([self._attempt])

    async def refresh(self, *, allow_rollback: bool = False) -> SignedDirectory:
        """Fetch now, as an operator asks; the directory that is in force then. With `allow_rollback` an older version,
        or another one of the same version, takes the place of the one in force. Raises `DirectoryRefused`."""
        async with self._lock:
            await self._claim(pause_ms=0)
            problem = await self._fetch(allow_rollback=allow_rollback)
        if self.knowledge.copy is None or problem is not None:
            raise DirectoryRefused(problem or "there is no directory")
        return self.knowledge.copy.signed

    async def verify(self, token: bytes) -> SignedDirectory:
        """The directory in `token` as it would be accepted now, whatever is in force: with a signer that is not known
        to be revoked. Raises `DirectoryRefused`."""
        now = datetime.fromtimestamp(self.now_ms() / 1000, UTC)
        signed = await self._verify(token, now)
        check_signer(signed.signer, await self.revocation(signed.signer), now)
        return signed

    @property
    def accepted(self) -> AcceptedVersion | None:
        """What the next directory is held against."""
        copy = self.knowledge.copy
        if copy is None:
            return None
        return AcceptedVersion(version=copy.directory.version, payload_sha256=copy.signed.payload_sha256)

    async def load(self) -> None:
        """Put in force what the database holds. A copy is read as of the time when it was accepted."""
        async with self._lock:
            await self._load()

    async def _load(self) -> None:
        self._is_behind = False
        async with self.store.database.connection() as connection:
            stored = await load_directory(connection, self.store.codec, self.source.name)
        if stored is None:
            return
        self.status = SourceStatus(
            checked_ts=stored.checked_ts, attempted_ts=stored.attempted_ts, problem=stored.problem
        )
        known_generation = self.knowledge.copy.generation if self.knowledge.copy else self._refused_generation
        if stored.copy is not None and stored.generation != known_generation:
            await self._take_over(stored.copy, stored.generation)

    async def _take_over(self, stored: DirectoryDocument, generation: int) -> None:
        try:
            signed = await self._verify(stored.document, datetime.fromtimestamp(stored.fetched_ts / 1000, UTC))
        except DirectoryRefused as error:
            _log.error("stored_directory_not_accepted", version=stored.version, reason=str(error))
            self.status = replace(self.status, problem=f"the stored copy is not accepted: {error}")
            self._refused_generation = generation
            await self.knowledge.adopt(None)
            return
        await self._adopt(DirectoryCopy(signed=signed, generation=generation, fetched_ts=stored.fetched_ts))

    def _pause_ms(self) -> int:
        is_failing = self.status.problem is not None or self.knowledge.copy is None
        return self.source.retry_interval_ms if is_failing else self.source.refresh_interval_ms

    def _is_due(self, pause_ms: int) -> bool:
        """Whether the last attempt is long ago; one from the future, as after a clock was set back, counts for
        nothing."""
        return not 0 <= self.now_ms() - self.status.attempted_ts < pause_ms

    async def _share_attempt(self, pause_ms: int) -> None:
        """Have one attempt made, or wait for the one that is being made."""
        if self._attempt is None or self._attempt.done():
            self._attempt = asyncio.create_task(self._try(pause_ms), name="trust-directory")
            self._attempt.add_done_callback(_look_at_error)
        await asyncio.shield(self._attempt)

    async def _try(self, pause_ms: int) -> None:
        """Fetch, unless another process has begun to within `pause_ms`; then take what it stored."""
        async with self._lock:
            if await self._claim(pause_ms=pause_ms):
                await self._fetch(allow_rollback=False)
            else:
                await self._load()

    async def _claim(self, *, pause_ms: int) -> bool:
        now_ms = self.now_ms()
        async with self.store.database.transaction() as tx:
            is_ours = await claim_attempt(tx, self.source.name, now_ms=now_ms, pause_ms=pause_ms)
        if is_ours:
            self.status = replace(self.status, attempted_ts=now_ms)
        return is_ours

    async def _fetch(self, *, allow_rollback: bool) -> str | None:
        """Ask one place after the other until one has a directory that is accepted; why none has."""
        problems: list[str] = []
        for url in self.source.urls:
            try:
                await self._fetch_from(url, allow_rollback=allow_rollback)
            except (OutgoingError, DirectoryRefused) as error:
                problems.append(str(error))
                continue
            return None
        problem = "; ".join(problems)
        self.failure_count += 1
        if problem != self.status.problem:
            _log.warning("directory_not_refreshed", source=self.source.name, reason=problem)
        self.status = replace(self.status, problem=problem)
        async with self.store.database.transaction() as tx:
            await note_problem(tx, self.source.name, problem)
        return problem

    async def _fetch_from(self, url: str, *, allow_rollback: bool) -> None:
        present = self.knowledge.copy
        known_version = None if present is None or allow_rollback else present.directory.version
        token = await self.fetch(directory_request_url(url, known_version))
        if token is None:
            if present is None:
                raise DirectoryRefused("there is said to be nothing newer, but this server has no directory yet")
            await self._note_checked()
            return
        now_ms = self.now_ms()
        signed = await self.verify(token)
        try:
            succession = check_succession(signed, self.accepted)
        except DirectoryRefused:
            if not allow_rollback:
                raise
            succession = Succession.NEWER
        if succession is Succession.SAME:
            await self._note_checked()
        else:
            await self._store(token, signed, now_ms, allow_rollback=allow_rollback)

    async def _verify(self, token: bytes, now: datetime) -> SignedDirectory:
        """In a thread: a directory of thousands of organisations takes a while."""
        return await asyncio.to_thread(verify_directory, token, rules=self.source.rules, now=now)

    async def _store(self, token: bytes, signed: SignedDirectory, now_ms: int, *, allow_rollback: bool) -> None:
        document = DirectoryDocument(
            document=token,
            version=signed.directory.version,
            payload_sha256=signed.payload_sha256,
            fetched_ts=now_ms,
        )
        generation = await self.store.writer.write(
            _StoreDirectory(
                own_name=self.knowledge.own_name,
                codec=self.store.codec,
                source=self.source.name,
                document=document,
                allow_rollback=allow_rollback,
            )
        )
        if generation is None:  # the database holds one that is newer
            await self._load()
            if self.knowledge.copy is None:
                raise DirectoryRefused(f"version {document.version} is older than the copy that was accepted before")
            return
        self.status = replace(self.status, checked_ts=now_ms, problem=None)
        present = self.knowledge.copy
        if present is not None:
            self.decisions.changed(changes_between(present.directory, signed.directory))
        await self._adopt(DirectoryCopy(signed=signed, generation=generation, fetched_ts=now_ms))

    async def _adopt(self, copy: DirectoryCopy) -> None:
        directory = copy.directory
        _log.info("directory_in_force", version=directory.version, organisations=len(directory.organisations))
        await self.knowledge.adopt(copy)

    async def _note_checked(self) -> None:
        now_ms = self.now_ms()
        async with self.store.database.transaction() as tx:
            await note_checked(tx, self.source.name, now_ms)
        self.status = replace(self.status, checked_ts=now_ms, problem=None)


def _look_at_error(task: "asyncio.Task[None]") -> None:
    """An error is told to those who wait; where nobody does any more, asyncio need not complain."""
    if not task.cancelled():
        task.exception()


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoreDirectory:
    """An operator's override is written to the audit log with it."""

    own_name: ServerName
    codec: Codec
    source: str
    document: DirectoryDocument
    allow_rollback: bool
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    @property
    def servers(self) -> dict[ServerName, frozenset[str]]:
        """All processes of this server are told."""
        return {self.own_name: frozenset({TRUST})}

    async def store(self, tx: Connection, position: int) -> int | None:
        if self.allow_rollback:
            object_ = f"{self.source} version {self.document.version}"
            await append_audit(tx, AuditEntry(actor=COMMAND_LINE, action="trust.allow_rollback", object=object_))
        return await store_directory(tx, self.codec, self.source, self.document, allow_rollback=self.allow_rollback)
