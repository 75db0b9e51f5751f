"""`tim-server media check`: the media store is held against the database, and mended where that is asked for."""

import asyncio
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import typer

from tim_server.app.media_check import OpenMediaCheck, open_media_check
from tim_server.cli.databases import open_databases
from tim_server.cli.failures import EXIT_UNAVAILABLE, CommandFailed
from tim_server.cli.logs import logging_as
from tim_server.cli.user_accounts import choose_tenant
from tim_server.config.load import load_settings
from tim_server.config.settings import Settings, TenantSettings
from tim_server.matrix.identifiers import ServerName
from tim_server.media_store.errors import MediaStoreError
from tim_server.services.media.check import Tally, Watch
from tim_server.services.media.keep import identity_of
from tim_server.services.media.stored_objects import Finding, kind_of
from tim_server.storage.migrations import migrate

PROGRESS_INTERVAL_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOrder:
    """What is asked for: `reads` opens each file; `removes_most` allows the removal also where nothing refers to most
    of what there is."""

    reads: bool
    removes_orphans: bool
    removes_most: bool
    forgets: bool


@dataclass(slots=True)
class _Progress:
    """Tells on standard error how far the work has come, now and then."""

    server_name: ServerName
    _told_ts: float = field(default_factory=time.monotonic)

    def checked(self, folder: str, tally: Tally) -> None:
        read = f", {_megabytes(tally.read_bytes)} read" if tally.read_bytes else ""
        self._tell(f"folder {folder} of ff: {tally.files} files, {tally.objects} objects{read}")

    def removed(self, folder: str, count: int) -> None:
        self._tell(f"folder {folder} of ff: {count} objects removed")

    def _tell(self, text: str) -> None:
        if time.monotonic() - self._told_ts >= PROGRESS_INTERVAL_S:
            self._told_ts = time.monotonic()
            sys.stderr.write(f"{self.server_name}: {text}\n")


def check_media(config: Path, order: CheckOrder, *, server_name: str | None) -> bool:
    """Check the files of a homeserver, or of each; whether nothing is lost. Prints what is found. Raises what
    `failures_told` tells."""
    settings = load_settings(config)
    chosen = settings.tenants if server_name is None else [choose_tenant(settings, server_name)]
    indexes = [settings.tenants.index(each) for each in chosen]

    async def run(settings: Settings) -> bool:
        fine = [await _check_one(settings, settings.tenants[index], order) for index in indexes]
        return all(fine)

    quiet = settings.observability.model_copy(update={"log_level": "WARNING", "log_format": "console"})
    with logging_as(quiet), open_databases(settings) as databases:
        try:
            return asyncio.run(run(databases.settings))
        except MediaStoreError as error:
            raise CommandFailed(str(error), exit_code=EXIT_UNAVAILABLE) from None


async def _check_one(settings: Settings, tenant: TenantSettings, order: CheckOrder) -> bool:
    dsn = tenant.database.direct_dsn or tenant.database.dsn
    if dsn is None:
        raise CommandFailed(f"no database is known for {tenant.server_name}")
    await migrate(dsn.get_secret_value())
    async with open_media_check(settings, tenant) as opened:
        progress = _Progress(tenant.server_name)
        watch = Watch(found=lambda finding: _print_finding(tenant.server_name, finding), progress=progress.checked)
        forgetting = opened.forgetting if order.forgets else None
        tally = await opened.check.run(watch, reads=order.reads, forgetting=forgetting)
        for line in _summary(tally, forgets=order.forgets):
            typer.echo(f"{tenant.server_name}: {line}")
        if order.removes_orphans and tally.orphans:
            removed = await _remove(opened, tally, progress, removes_most=order.removes_most)
            typer.echo(f"{tenant.server_name}: {removed} objects are removed that nothing referred to")
    return not tally.lost


async def _remove(opened: OpenMediaCheck, tally: Tally, progress: _Progress, *, removes_most: bool) -> int:
    if 2 * tally.orphans > tally.objects and not removes_most:
        raise CommandFailed(
            "nothing refers to most of what there is, so that none of it is removed: is this the database that belongs "
            "to these files? If so, say --remove-most too"
        )
    return await opened.removal.remove(progress.removed)


def _print_finding(server_name: ServerName, finding: Finding) -> None:
    """What is wrong, what kind of file it is of, which one, and its object, with tabs between them."""
    referred = finding.referred
    uri = "-" if referred is None else identity_of(referred.server_name, referred.media_id, referred.variant)
    kind = kind_of(finding, server_name)
    typer.echo("\t".join((finding.trouble.value, kind, uri, finding.object_name)))


def _summary(tally: Tally, *, forgets: bool) -> list[str]:
    lines = [f"{tally.files} files in the database, {tally.objects} objects in the store"]
    if tally.read_bytes:
        lines.append(f"{_megabytes(tally.read_bytes)} were read")
    lost = ", ".join(f"{kind} {count}" for kind, count in sorted(tally.lost.items()))
    lines.append(f"lost: {lost}" if lost else "nothing is lost")
    if forgets and tally.lost.keys() - {"upload"}:
        lines.append("what can be made or fetched anew of what is lost is forgotten, but for what is unreadable")
    lines.append(f"nothing refers to: {tally.orphans} objects, {_megabytes(tally.orphans_bytes)}")
    aside = {
        "being written or removed": tally.noted,
        "too young to tell": tally.young,
        "not of this server by their names": tally.strange,
    }
    return lines + [f"left aside: {count} objects, {why}" for why, count in aside.items() if count]


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1_000_000:.1f} MB"
