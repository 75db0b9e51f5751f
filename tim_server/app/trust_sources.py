"""What a homeserver decides by whom it may talk to: the signed directory, certificates, revocation lists.

Apart from the gate, since it loads what reads certificates, which a server of the open profile does without.
"""

import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog
from cryptography import x509

from tim_server.app.outgoing import own_tls
from tim_server.app.trust_parts import TICK_S, TrustParts, TrustSources
from tim_server.background.supervise import Loop
from tim_server.config.load import ConfigurationError, Problem
from tim_server.config.settings import TenantSettings
from tim_server.config.trust import DirectorySettings
from tim_server.egress.documents import DocumentFetcher, endpoint_of
from tim_server.egress.tls import PeerTls
from tim_server.federation.client import FederationClient
from tim_server.matrix.errors import Unavailable
from tim_server.services.trust.certificates import PeerCertificates
from tim_server.services.trust.client_certificates import ClientCertificateCheck
from tim_server.services.trust.health import HealthWatch, health_of
from tim_server.services.trust.inspect_peers import PeerInspection
from tim_server.services.trust.knowledge import TrustKnowledge
from tim_server.services.trust.refresh import DirectoryRefresh, DirectorySource
from tim_server.services.trust.revocation_lists import RevocationLists
from tim_server.services.trust.vouched_keys import VouchedKeys
from tim_server.storage.store import Store
from tim_server.trust.certificates import CertificateRefused, read_certificates
from tim_server.trust.publication import NOTHING_NEWER
from tim_server.trust.revocation import RevocationMode, RevocationRules
from tim_server.trust.signed_directory import DIRECTORY_BYTES_MAX, SignerRules

_log = structlog.get_logger("trust")

WATCH_INTERVAL_S = 60.0
HOUR_S = 3600.0
OWN_DIRECTORY = "directory"
"""The source's name in the database."""


def with_sources(parts: TrustParts, tenant: TenantSettings, store: Store, now_ms: Callable[[], int]) -> TrustParts:
    """The gate with the directory and the certificates that are configured; nothing is fetched yet. Raises
    `ConfigurationError` for anchors that can't be read."""
    knowledge = parts.knowledge
    lists = _revocation_lists(tenant, store, knowledge, now_ms)
    fetcher = _directory_fetcher(tenant.trust.sources.directory)
    directory = DirectoryRefresh(
        source=directory_source(tenant.trust.sources.directory),
        store=store,
        fetch=partial(fetcher.get, size_bytes_max=DIRECTORY_BYTES_MAX, nothing_newer=NOTHING_NEWER),
        knowledge=knowledge,
        decisions=parts.decisions,
        now_ms=now_ms,
        revocation=lists.about,
    )
    certificates = PeerCertificates(
        knowledge=knowledge, lists=lists, anchors=certificate_anchors(tenant), store=store, now_ms=now_ms
    )
    for follow in (directory.follow, lists.follow):
        store.commit_log.subscribe(follow)
    store.writer.on_restored.append(directory.look)
    tls = _peer_tls(tenant)
    watch = HealthWatch(health=lambda: health_of(knowledge, directory.status, now_ms()), now_ms=now_ms)
    return replace(
        parts,
        gate=replace(parts.gate, look_again=directory.look_again),
        sources=TrustSources(
            directory=directory,
            lists=lists,
            certificates=certificates,
            inspection=PeerInspection(certificates=certificates, decisions=parts.decisions),
            tls=tls,
        ),
        loops=(
            *parts.loops,
            Loop(name="refresh trust", interval_s=TICK_S, work=partial(_unless_away, directory.tick)),
            Loop(name="refresh revocation lists", interval_s=TICK_S, work=partial(_unless_away, lists.tick)),
            Loop(name="write certificates", interval_s=TICK_S, work=certificates.flush),
            Loop(name="watch trust", interval_s=WATCH_INTERVAL_S, work=watch.tick),
            Loop(name="reload own certificate", interval_s=WATCH_INTERVAL_S, work=partial(_reload, tls)),
            Loop(name="reap revocation lists", interval_s=HOUR_S, work=lists.reap),
            Loop(name="reap certificates", interval_s=HOUR_S, work=certificates.reap),
        ),
        closers=(directory.close, fetcher.close, lists.close, certificates.flush, *parts.closers),
    )


def vouched_keys(
    parts: TrustParts, sources: TrustSources, client: FederationClient, now_ms: Callable[[], int]
) -> VouchedKeys:
    """The keys of requests that come without a certificate."""
    return VouchedKeys(client=client, certificates=sources.certificates, decisions=parts.decisions, now_ms=now_ms)


def client_certificate_check(parts: TrustParts, sources: TrustSources) -> ClientCertificateCheck:
    """What clients must have presented."""
    return ClientCertificateCheck(certificates=sources.certificates, decisions=parts.decisions)


def _peer_tls(tenant: TenantSettings) -> PeerTls:
    """TLS for connections to other servers: whoever chains to an anchor of organisations' certificates, to whom our own
    is presented. Raises `ConfigurationError`."""
    anchors, own = tenant.trust.certificates.anchors_file, tenant.trust.mutual_tls
    assert anchors is not None, "checked with the configuration"
    context = own_tls(anchors, "trust.certificates.anchors_file")
    try:
        return PeerTls(context=context, certificate=own.own_files)
    except (OSError, ssl.SSLError) as error:
        problem = Problem(
            source=str(own.certificate), line=None, key="trust.mutual_tls", reason=f"cannot be used: {error}"
        )
        raise ConfigurationError([problem]) from None


async def _unless_away(work: Callable[[], Awaitable[None]]) -> None:
    """Do it later where the database is away, of which others tell."""
    with suppress(Unavailable):
        await work()


async def _reload(tls: PeerTls) -> None:
    """Present a renewed certificate from now on; one that can't be used is reported, and the old one stays."""
    try:
        if tls.reload_if_changed():
            _log.info("certificate_reloaded", file=str(tls.certificate))
    except (OSError, ssl.SSLError) as error:
        _log.error("certificate_not_reloaded", file=str(tls.certificate), reason=str(error))


def certificate_anchors(tenant: TenantSettings) -> tuple[x509.Certificate, ...]:
    """The anchors of organisations' certificates; raises `ConfigurationError`."""
    file = tenant.trust.certificates.anchors_file
    assert file is not None, "checked with the configuration"
    return read_anchors(file, "trust.certificates.anchors_file")


def _revocation_lists(
    tenant: TenantSettings, store: Store, knowledge: TrustKnowledge, now_ms: Callable[[], int]
) -> RevocationLists:
    settings = tenant.trust.certificates
    return RevocationLists(
        fetcher=DocumentFetcher(hosts=frozenset(settings.revocation_hosts)),
        rules=RevocationRules(mode=RevocationMode(settings.revocation), uses_ocsp=settings.ocsp),
        store=store,
        knowledge=knowledge,
        refresh_interval_ms=round(tenant.trust.sources.directory.refresh_interval_s * 1000),
        now_ms=now_ms,
    )


def directory_source(directory: DirectorySettings) -> DirectorySource:
    """The source that is configured; raises `ConfigurationError`."""
    assert directory.anchors_file is not None, "checked with the configuration"
    return DirectorySource(
        name=OWN_DIRECTORY,
        urls=directory.urls,
        rules=SignerRules(
            anchors=read_anchors(directory.anchors_file, "trust.sources.directory.anchors_file"),
            common_name=directory.signer_common_name,
            policy=directory.signer_policy,
        ),
        refresh_interval_ms=round(directory.refresh_interval_s * 1000),
        unknown_server_interval_ms=round(directory.unknown_server_interval_s * 1000),
    )


def read_anchors(file: Path, key: str) -> tuple[x509.Certificate, ...]:
    """The certificates in `file`; raises `ConfigurationError`, which names the option `key`."""
    try:
        return read_certificates(file.read_bytes())
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except CertificateRefused as error:
        reason = str(error)
    raise ConfigurationError([Problem(source=str(file), line=None, key=key, reason=reason)])


def _directory_fetcher(directory: DirectorySettings) -> DocumentFetcher:
    tls: ssl.SSLContext | None = None
    if directory.ca_file is not None:
        tls = own_tls(directory.ca_file, "trust.sources.directory.ca_file")
    return DocumentFetcher(hosts=frozenset(endpoint_of(url) for url in directory.urls), tls=tls)
