"""`tim-server trust …`: what trust is decided by, straight from database and configuration. Works whether or not the
server runs; what is changed here, running processes take over within seconds."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from nacl.signing import SigningKey as NaclKey

from tim_server.app.federation_parts import FederationParts, federation_parts
from tim_server.app.trust_parts import TrustParts, trust_review
from tim_server.cli.databases import open_databases
from tim_server.cli.failures import CommandFailed
from tim_server.cli.logs import logging_as
from tim_server.cli.user_accounts import choose_tenant
from tim_server.config.load import load_settings
from tim_server.config.settings import TenantSettings
from tim_server.egress.errors import OutgoingError
from tim_server.federation.errors import RemoteError
from tim_server.matrix.events.build import Author
from tim_server.matrix.events.signatures import SigningKey
from tim_server.matrix.identifiers import InvalidIdentifier, ServerName
from tim_server.services.trust.explain import Explanation, Step
from tim_server.services.trust.knowledge import changes_between
from tim_server.services.trust.refresh import DirectoryRefresh
from tim_server.services.trust.review import Member, TrustReview, TrustStatus
from tim_server.storage.codec import make_codec
from tim_server.storage.database import DatabaseOptions
from tim_server.storage.migrations import migrate
from tim_server.storage.store import Store, open_store
from tim_server.trust.directory import Directory, DirectoryRefused
from tim_server.trust.publication import directory_request_url
from tim_server.trust.signed_directory import SignedDirectory, check_succession
from tim_server.trust.verdict import Verdict

T = TypeVar("T")

KEYS = "/_matrix/key/v2/server"
CHANGES_SHOWN_MAX = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTrust:
    """The trust of one homeserver, as the database holds it."""

    store: Store
    federation: FederationParts
    review: TrustReview

    @property
    def trust(self) -> TrustParts:
        """The gate, and what it decides by."""
        return self.federation.trust

    @property
    def directory(self) -> DirectoryRefresh:
        """What keeps the directory; raises `CommandFailed` where the profile looks at none."""
        if self.trust.directory is None:
            raise CommandFailed(f"the profile {self.review.profile} looks at no directory")
        return self.trust.directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """How trust stands, and the servers that are listed."""

    server_name: ServerName
    status: TrustStatus
    members: list[Member]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What became of a document: the lines to print, and whether it would be put in force."""

    lines: list[str]
    is_accepted: bool


def show(config: Path, *, server_name: str | None) -> Shown:
    """How trust stands. Raises what `failures_told` tells."""

    async def read(opened: OpenTrust) -> Shown:
        members: list[Member] = []
        while page := await opened.review.members(after=members[-1].server_name if members else "", limit=500):
            members += page
        return Shown(server_name=opened.trust.knowledge.own_name, status=opened.review.status(), members=members)

    return _with_trust(config, server_name, read)


def refresh(config: Path, *, server_name: str | None, allow_rollback: bool) -> str:
    """Fetch the directory and put it in force; what was done. Raises what `failures_told` tells."""

    async def fetch(opened: OpenTrust) -> str:
        before = opened.trust.knowledge.copy
        try:
            signed = await opened.directory.refresh(allow_rollback=allow_rollback)
        except DirectoryRefused as error:
            raise CommandFailed(f"{error}; the directory before it stays in force") from None
        if before is not None and before.signed.payload_sha256 == signed.payload_sha256:
            return f"version {signed.directory.version} is in force, and is the newest"
        return f"version {signed.directory.version} is in force from now on"

    return _with_trust(config, server_name, fetch)


def verify(config: Path, file: Path | None, *, server_name: str | None) -> Verified:
    """Verify the document in `file`, or what is published, as the server would, and put nothing in force. Raises what
    `failures_told` tells."""

    async def check(opened: OpenTrust) -> Verified:
        if file is not None:
            return await _verified(opened, str(file), _read(file))
        found = []
        for url in opened.directory.source.urls:
            try:
                token = await opened.directory.fetch(directory_request_url(url, None))
            except OutgoingError as error:
                found.append(Verified(lines=[f"{url}: {error}"], is_accepted=False))
                continue
            assert token is not None, "nothing is said to be known already"
            found.append(await _verified(opened, url, token))
        lines = [line for each in found for line in each.lines]
        return Verified(lines=lines, is_accepted=any(each.is_accepted for each in found))

    return _with_trust(config, server_name, check)


def explain(config: Path, name: str, *, server_name: str | None, connect: bool) -> Explanation:
    """Why a server may or may not talk to this one. Raises what `failures_told` tells."""
    try:
        asked = ServerName.parse(name)
    except InvalidIdentifier:
        raise CommandFailed(f"{name!r} is not a server name") from None

    async def look(opened: OpenTrust) -> Explanation:
        step = await _contact(opened, asked) if connect else None
        explained = await opened.review.explain(asked)
        if step is None:
            return explained
        verdict = explained.verdict if step.is_fine else Verdict(is_allowed=False, reason=step.found)
        return replace(explained, steps=(*explained.steps, step), verdict=verdict)

    return _with_trust(config, server_name, look)


async def _contact(opened: OpenTrust, asked: ServerName) -> Step:
    """Connect to the server and ask for its keys, as any request to it would."""
    try:
        await opened.federation.client.get(asked, KEYS)
    except (OutgoingError, RemoteError) as error:
        return Step(looked_at="connection", found=str(error), is_fine=False)
    finally:
        if opened.trust.sources is not None:
            await opened.trust.sources.certificates.flush()
    return Step(looked_at="connection", found="it was reached, and proved to be who it is", is_fine=True)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes().strip()
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}") from None


async def _verified(opened: OpenTrust, place: str, token: bytes) -> Verified:
    try:
        signed = await opened.directory.verify(token)
    except DirectoryRefused as error:
        return Verified(lines=[f"{place}: {error}"], is_accepted=False)
    lines = [f"{place}: {line}" for line in _description(signed)]
    copy = opened.trust.knowledge.copy
    if copy is None:
        return Verified(lines=[*lines, "no directory is in force yet"], is_accepted=True)
    try:
        check_succession(signed, opened.directory.accepted)
    except DirectoryRefused as error:
        return Verified(lines=[*lines, f"it would not be put in force: {error}"], is_accepted=False)
    return Verified(lines=[*lines, *_differences(copy.directory, signed.directory)], is_accepted=True)


def _description(signed: SignedDirectory) -> Iterator[str]:
    directory, signer = signed.directory, signed.signer.leaf
    yield f"version {directory.version}, issued {directory.issued.isoformat()}, expires {directory.expires.isoformat()}"
    yield f"signed by {signer.subject.rfc4514_string()}, certificate {signed.signer_sha256}"
    servers = sum(len(each.server_names) for each in directory.organisations)
    yield f"{servers} servers of {len(directory.organisations)} organisations"


def _differences(before: Directory, after: Directory) -> Iterator[str]:
    changes = changes_between(before, after)
    yield f"in force is version {before.version}; {len(changes)} servers differ"
    for name, verdict in changes[:CHANGES_SHOWN_MAX]:
        yield f"  {'+' if verdict.is_allowed else '-'} {name}"
    if len(changes) > CHANGES_SHOWN_MAX:
        yield f"  … and {len(changes) - CHANGES_SHOWN_MAX} more"


def _with_trust(config: Path, server_name: str | None, work: Callable[[OpenTrust], Awaitable[T]]) -> T:
    settings = load_settings(config)
    index = settings.tenants.index(choose_tenant(settings, server_name))

    async def run(tenant: TenantSettings) -> T:
        async with _open_trust(tenant) as opened:
            return await work(opened)

    quiet = settings.observability.model_copy(update={"log_level": "WARNING", "log_format": "console"})
    with logging_as(quiet), open_databases(settings) as databases:
        return asyncio.run(run(databases.settings.tenants[index]))


@asynccontextmanager
async def _open_trust(tenant: TenantSettings) -> AsyncIterator[OpenTrust]:
    dsn, direct_dsn = tenant.database.dsn, tenant.database.direct_dsn
    if dsn is None:
        raise CommandFailed(f"no database is known for {tenant.server_name}")
    direct = (direct_dsn or dsn).get_secret_value()
    await migrate(direct)
    # Nothing is signed here that anybody would verify, so that the server's key is left alone.
    author = Author(server_name=tenant.server_name, key=SigningKey(key_id="ed25519:none", key=NaclKey.generate()))
    store = await open_store(DatabaseOptions(dsn=direct, pool_size_max=2), make_codec(tenant.sealing.key_bytes))
    try:
        federation = federation_parts(tenant, author, {}, store, _now_ms)
        await federation.trust.load()
        review = trust_review(federation.trust, tenant, store, _now_ms)
        try:
            yield OpenTrust(store=store, federation=federation, review=review)
        finally:
            for close in federation.closers:
                await close()
    finally:
        await store.close()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
