"""What is known of revoked certificates: lists and OCSP responses, fetched from configured hosts for chains that reach
an anchor, kept in memory and (lists) in the database.

Lists are fetched when a chain first needs them and again at an interval; a new one may change any verdict, and all
processes are told. A list is kept only if it counts for the certificate that it was fetched for, and is not older than
the one before.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

import structlog
from cryptography import x509
from cryptography.x509 import ocsp

from tim_server.egress.documents import DocumentFetcher
from tim_server.egress.errors import OutgoingError
from tim_server.matrix.errors import MatrixError
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.trust.knowledge import TrustKnowledge
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import Connection
from tim_server.storage.store import Store
from tim_server.storage.trust_crls import CrlDocument, claim_crls, load_crls, note_crl_problem, reap_crls, store_crl
from tim_server.storage.trust_directory import TRUST
from tim_server.trust.certificates import CertificateRefused, public_key_sha256
from tim_server.trust.chains import Chain
from tim_server.trust.crls import CRL_BYTES_MAX, crl_urls, judge_by_crl, read_crl
from tim_server.trust.ocsp_responses import OCSP_RESPONSE_BYTES_MAX, read_ocsp_response
from tim_server.trust.revocation import OcspQuery, RevocationData, RevocationRules, revocation_sources
from tim_server.trust.revocation_status import Unknown

RETRY_PAUSE_MS = 30_000
"""How long a list or response that could not be had is not asked for again by those who wait for it."""
LISTS_MAX = 100
RESPONSES_MAX = 10_000
URL_LENGTH_MAX = 1_000
OCSP_HEADERS = {"Content-Type": "application/ocsp-request", "Accept": "application/ocsp-response"}

_log = structlog.get_logger("trust")


ListKey = tuple[str, str]
"""Where a list is published, and the key of the authority that must have signed it: after an authority has changed its
key, there may be certificates of both for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """A certificate and its issuer, for which a list must count to be kept."""

    certificate: x509.Certificate
    issuer: x509.Certificate

    def key_at(self, url: str) -> ListKey:
        """The list that speaks for the certificate, if it is the one at `url`."""
        return url, public_key_sha256(self.issuer)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownList:
    """A list in memory, and what it was fetched for. `crl` None: none is known yet."""

    witness: Witness
    crl: x509.CertificateRevocationList | None = None
    document_sha256: str | None = None

    def is_current(self, now: datetime) -> bool:
        """Whether it can still speak for anybody."""
        return self.crl is not None and self.crl.next_update_utc is not None and now <= self.crl.next_update_utc


@dataclass(frozen=True, slots=True, kw_only=True)
class _KnownResponse:
    response: ocsp.OCSPResponse | None
    fetched_ms: int


@dataclass(slots=True, kw_only=True)
class RevocationLists:
    """Knows lists and responses, and keeps them new."""

    fetcher: DocumentFetcher
    rules: RevocationRules
    store: Store
    knowledge: TrustKnowledge
    refresh_interval_ms: int
    now_ms: Callable[[], int]
    failure_count: int = 0
    _lists: dict[ListKey, KnownList] = field(default_factory=dict)
    _responses: dict[tuple[str, bytes], _KnownResponse] = field(default_factory=dict)
    _failed_ms: dict[str, int] = field(default_factory=dict)
    _fetching: "dict[str, asyncio.Task[None]]" = field(default_factory=dict)
    _refreshed_ms: int = 0
    _is_behind: bool = False

    async def about(self, chain: Chain) -> RevocationData:
        """What is known of the certificates of a chain; fetched where it is not known, or has expired."""
        sources = revocation_sources(chain)
        wanted = [
            (url, Witness(certificate=certificate, issuer=issuer))
            for certificate, issuer in pairwise(chain.certificates)
            for url in crl_urls(certificate)
            if len(url) <= URL_LENGTH_MAX and self.fetcher.may_ask(url)
        ]
        found = await asyncio.gather(*(self._list(url, witness) for url, witness in wanted))
        queries = sources.ocsp_queries if self.rules.uses_ocsp else ()
        responses = await asyncio.gather(*(self._response(q) for q in queries if self.fetcher.may_ask(q.url)))
        return RevocationData(
            crls=tuple(crl for crl in found if crl is not None),
            ocsp_responses=tuple(response for response in responses if response is not None),
        )

    def follow(self, entry: CommitEntry) -> None:
        """Another process, or this one, may have stored a list."""
        if TRUST in entry.servers.get(self.knowledge.own_name, ()):
            self._is_behind = True

    async def tick(self) -> None:
        """Do what is due: follow other processes, fetch all lists in use anew. Called often."""
        if self._is_behind:
            self._is_behind = False
            await self._load(list(self._lists))
        now_ms = self.now_ms()
        if 0 <= now_ms - self._refreshed_ms < self.refresh_interval_ms:
            return
        self._refreshed_ms = now_ms
        await self.refresh()

    async def refresh(self, *, pause_ms: int | None = None) -> None:
        """Fetch the lists in use that nobody has begun to fetch within `pause_ms`: half the interval, where None, as
        processes don't look at the same moments."""
        pause_ms = self.refresh_interval_ms // 2 if pause_ms is None else pause_ms
        if not self._lists:
            return
        async with self.store.database.transaction() as tx:
            urls = await claim_crls(tx, {url for url, _ in self._lists}, now_ms=self.now_ms(), pause_ms=pause_ms)
        await asyncio.gather(*(self._share_fetch(url) for url in sorted(urls)))

    async def reap(self) -> None:
        """Remove from the database what nobody has asked for in a long time."""
        async with self.store.database.transaction() as tx:
            await reap_crls(tx, self.now_ms())

    async def close(self) -> None:
        """Give up what is being fetched, and close the connections."""
        tasks = list(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.fetcher.close()

    async def _list(self, url: str, witness: Witness) -> x509.CertificateRevocationList | None:
        key = witness.key_at(url)
        if key not in self._lists:
            while len(self._lists) >= LISTS_MAX:
                del self._lists[next(iter(self._lists))]
            self._lists[key] = KnownList(witness=witness)
            await self._load([key])
        known = self._lists.get(key)
        if known is not None and not known.is_current(self._now()) and self._may_retry(url):
            await self._share_fetch(url)
            known = self._lists.get(key)
        return None if known is None else known.crl

    async def _share_fetch(self, url: str) -> None:
        """Fetch a list, or wait for whoever is fetching it."""
        if url not in self._fetching:
            task = asyncio.create_task(self._fetch(url), name="trust-crl")
            self._fetching[url] = task
            task.add_done_callback(lambda _task: self._fetching.pop(url, None))
        await asyncio.shield(self._fetching[url])

    async def _fetch(self, url: str) -> None:
        """Fetch a list and keep it, if it counts; what goes wrong is written down."""
        try:
            document = await self.fetcher.get(url, size_bytes_max=CRL_BYTES_MAX)
            assert document is not None
            taken = await self._offer(url, document)
        except (OutgoingError, CertificateRefused) as error:
            self.failure_count += 1
            self._failed_ms[url] = self.now_ms()
            _log.warning("revocation_list_not_refreshed", url=url, reason=str(error))
            await self._note_problem(url, str(error))
            return
        self._failed_ms.pop(url, None)
        if taken is None:
            await self._note_problem(url, None)
            return
        crl = CrlDocument(
            document=document,
            document_sha256=hashlib.sha256(document).hexdigest(),
            last_update_ts=round(taken.last_update_utc.timestamp() * 1000),
        )
        try:
            await self.store.writer.write(
                _StoreCrl(
                    own_name=self.knowledge.own_name, codec=self.store.codec, url=url, crl=crl, now_ms=self.now_ms()
                )
            )
        except MatrixError as error:  # the list serves from memory
            _log.warning("revocation_list_not_stored", url=url, reason=error.errcode)

    async def _offer(self, url: str, document: bytes) -> x509.CertificateRevocationList | None:
        """Take what is published at `url` as the list of each authority whose it is; None where it is known already.
        Raises `CertificateRefused` where it counts for nobody."""
        outcomes: list[x509.CertificateRevocationList | None] = []
        refusals: list[CertificateRefused] = []
        for key in [key for key in self._lists if key[0] == url]:
            try:
                outcomes.append(await self._take(key, document))
            except CertificateRefused as error:
                refusals.append(error)
        if refusals and not outcomes:
            raise refusals[0]
        return next((crl for crl in outcomes if crl is not None), None)  # an empty list is false

    async def _take(self, key: ListKey, document: bytes) -> x509.CertificateRevocationList | None:
        """Know a list from now on; None where it is known already. Raises `CertificateRefused` for one that does not
        count."""
        known = self._lists.get(key)
        sha256 = hashlib.sha256(document).hexdigest()
        if known is None or known.document_sha256 == sha256:
            return None
        crl = await asyncio.to_thread(_read_and_judge, document, known.witness, self._now())
        if known.crl is not None and crl.last_update_utc < known.crl.last_update_utc:
            raise CertificateRefused("the revocation list is older than the one that is known")
        self._lists[key] = KnownList(witness=known.witness, crl=crl, document_sha256=sha256)
        await self.knowledge.tell_change()
        return crl

    async def _load(self, keys: Sequence[ListKey]) -> None:
        """Take the lists that the database holds, where they are others."""
        known = {key[0]: each.document_sha256 for key in keys if (each := self._lists.get(key)) is not None}
        if not known:
            return
        async with self.store.database.connection() as connection:
            stored = await load_crls(connection, self.store.codec, known)
        for url, crl in stored.items():
            with contextlib.suppress(CertificateRefused):  # it has expired, or is another authority's
                await self._offer(url, crl.document)

    async def _response(self, query: OcspQuery) -> ocsp.OCSPResponse | None:
        key, now_ms = (query.url, query.request), self.now_ms()
        known = self._responses.get(key)
        if known is not None:
            age_max = self.refresh_interval_ms if known.response is not None else RETRY_PAUSE_MS
            if 0 <= now_ms - known.fetched_ms < age_max:
                return known.response
        response = None
        try:
            answer = await self.fetcher.post(
                query.url, query.request, headers=OCSP_HEADERS, size_bytes_max=OCSP_RESPONSE_BYTES_MAX
            )
            response = read_ocsp_response(answer)
        except (OutgoingError, CertificateRefused) as error:
            self.failure_count += 1
            _log.warning("ocsp_not_answered", url=query.url, reason=str(error))
        while len(self._responses) >= RESPONSES_MAX:
            del self._responses[next(iter(self._responses))]
        self._responses[key] = _KnownResponse(response=response, fetched_ms=now_ms)
        return response

    async def _note_problem(self, url: str, problem: str | None) -> None:
        try:
            async with self.store.database.transaction() as tx:
                await note_crl_problem(tx, url, problem)
        except MatrixError:  # without the database nobody reads it either
            return

    def _may_retry(self, url: str) -> bool:
        failed_ms = self._failed_ms.get(url)
        return failed_ms is None or not 0 <= self.now_ms() - failed_ms < RETRY_PAUSE_MS

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.now_ms() / 1000, UTC)


def _read_and_judge(document: bytes, witness: Witness, now: datetime) -> x509.CertificateRevocationList:
    crl = read_crl(document)
    if isinstance(judge_by_crl(witness.certificate, witness.issuer, crl, now), Unknown):
        raise CertificateRefused("the revocation list does not count for the certificate that names it")
    return crl


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoreCrl:
    own_name: ServerName
    codec: Codec
    url: str
    crl: CrlDocument
    now_ms: int
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    @property
    def servers(self) -> dict[ServerName, frozenset[str]]:
        """All processes of this server are told."""
        return {self.own_name: frozenset({TRUST})}

    async def store(self, tx: Connection, position: int) -> None:
        await store_crl(tx, self.codec, self.url, self.crl, self.now_ms)
