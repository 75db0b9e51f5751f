"""Bringing a tenant's schema to the form that this release needs.

Reads `NNNN_verb_noun.sql` in order and applies, each in a transaction of its own, what `schema_migrations` does not
list yet. Starters that come together poll an advisory lock (a blocking one would deadlock with CREATE INDEX
CONCURRENTLY): one applies, the others find nothing left to do. Forward only; a schema written by a newer release is
refused, unless each newer migration says `-- works with: NNNN` with a number that this release has.
"""

import asyncio
import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TypeAlias

import asyncpg

from tim_server.storage.connect import connect
from tim_server.storage.table_contract import TableContract

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

TABLES = (
    TableContract(
        name="schema_migrations",
        owner="storage.migrations",
        bound="one row a migration",
        reaper="none: releases bound it",
    ),
)

LOCK_TIMEOUT_S = 600.0
LOCK_POLL_INTERVAL_S = 0.05
_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9]+(?:_[a-z0-9]+)+)\.sql")
_WORKS_WITH = re.compile(r"^-- works with: (\d{4})$", re.MULTILINE)


class MigrationFailed(Exception):
    """The schema is not what this release needs and cannot be made so. The message says why."""


class SchemaTooNew(MigrationFailed):
    """A newer release has written this schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file. `works_with` is the oldest migration that a release must have to run on a schema with this one."""

    number: int
    name: str
    statements: str
    works_with: int

    @property
    def checksum(self) -> str:
        """SHA-256 of the file's text, in hexadecimal."""
        return hashlib.sha256(self.statements.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedMigration:
    """One row of `schema_migrations`."""

    number: int
    name: str
    checksum: str
    works_with: int


def migrations_folder() -> Path:
    """Where the files are: inside the installed package, or beside it in a checkout."""
    packaged = Path(str(resources.files("tim_server"))) / "_migrations"
    return packaged if packaged.is_dir() else packaged.parent.parent / "migrations"


def read_migrations(folder: Path | None = None) -> tuple[Migration, ...]:
    """The migrations of `folder` in order; raises `MigrationFailed` for a misnamed file or a number given twice."""
    found: dict[int, Migration] = {}
    for path in sorted((folder or migrations_folder()).glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if not match:
            raise MigrationFailed(f"{path.name} is not named NNNN_verb_noun.sql")
        number = int(match[1])
        if number in found:
            raise MigrationFailed(f"{path.name} and {found[number].name} have the same number")
        statements = path.read_text()
        works_with = _WORKS_WITH.search(statements)
        found[number] = Migration(
            number=number,
            name=path.stem,
            statements=statements,
            works_with=int(works_with[1]) if works_with else number,
        )
    return tuple(found.values())


async def migrate(
    dsn: str, *, migrations: Sequence[Migration] | None = None, lock_timeout_s: float = LOCK_TIMEOUT_S
) -> tuple[str, ...]:
    """Apply what is missing in the schema of the role that `dsn` names; returns the names of what was applied.

    Raises `DatabaseUnreachable`, `SchemaTooNew`, `MigrationFailed`.
    """
    known = read_migrations() if migrations is None else migrations
    connection = await connect(dsn)
    try:
        await _lock(connection, timeout_s=lock_timeout_s)
        await _prepare_schema(connection)
        missing = plan(known, await _read_applied(connection))
        for migration in missing:
            await _apply(connection, migration)
        return tuple(migration.name for migration in missing)
    finally:
        await connection.close()  # gives the advisory lock back


async def read_missing(dsn: str, *, migrations: Sequence[Migration] | None = None) -> tuple[str, ...]:
    """Names of the migrations that `migrate` would apply; changes nothing. Raises as `migrate` does."""
    known = read_migrations() if migrations is None else migrations
    connection = await connect(dsn)
    try:
        has_table = await connection.fetchval(TABLE_EXISTS)
        applied = await _read_applied(connection) if has_table else ()
        return tuple(migration.name for migration in plan(known, applied))
    finally:
        await connection.close()


def plan(known: Sequence[Migration], applied: Sequence[AppliedMigration]) -> tuple[Migration, ...]:
    """What of `known` is to be applied after `applied`; raises `SchemaTooNew`, `MigrationFailed`."""
    by_number = {migration.number: migration for migration in known}
    newest = max(by_number, default=0)
    for row in applied:
        migration = by_number.get(row.number)
        if migration is None and row.works_with > newest:
            raise SchemaTooNew(
                f"the database has migration {row.name}, which this release does not know: it was written by a newer "
                "release. Start that release, or restore a backup made before the upgrade"
            )
        if migration is not None and migration.checksum != row.checksum:
            raise MigrationFailed(f"migration {row.name} was changed after it had been applied to the database")
    last = max((row.number for row in applied), default=0)
    done = {row.number for row in applied}
    missing = tuple(migration for migration in known if migration.number not in done)
    late = [migration.name for migration in missing if migration.number < last]
    if late:
        raise MigrationFailed(f"migration {late[0]} comes before {last:04}, which has been applied already")
    return missing


TRY_LOCK = "SELECT pg_try_advisory_lock(hashtext('tim-server migrations'), hashtext(current_user))"


async def _lock(connection: Connection, *, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not await connection.fetchval(TRY_LOCK):
        if time.monotonic() > deadline:
            raise MigrationFailed(f"another process has been migrating this database for more than {timeout_s:.0f} s")
        await asyncio.sleep(LOCK_POLL_INTERVAL_S)


SCHEMA_EXISTS = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = current_user)"
QUOTE_CREATE_SCHEMA = "SELECT format('CREATE SCHEMA IF NOT EXISTS %I', current_user)"
IS_SEARCH_PATH_OWN = "SELECT current_setting('search_path') = quote_ident(current_user)"
QUOTE_SET_SEARCH_PATH = """
SELECT format('ALTER ROLE CURRENT_USER SET search_path = %1$I; SET search_path = %1$I', current_user)
"""
CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number integer PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    checksum text COLLATE "C" NOT NULL,
    works_with integer NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


async def _prepare_schema(connection: Connection) -> None:
    """The schema named as the role, which the role's connections find and no other."""
    if not await connection.fetchval(SCHEMA_EXISTS):
        try:
            await connection.execute(await connection.fetchval(QUOTE_CREATE_SCHEMA))
        except asyncpg.InsufficientPrivilegeError:
            raise MigrationFailed(
                "the database role has no schema of its own name and may not create it: run "
                "CREATE SCHEMA AUTHORIZATION <role> as an administrator of the database"
            ) from None
    if not await connection.fetchval(IS_SEARCH_PATH_OWN):
        await connection.execute(await connection.fetchval(QUOTE_SET_SEARCH_PATH))
    await connection.execute(CREATE_TABLE)


TABLE_EXISTS = "SELECT to_regclass('schema_migrations') IS NOT NULL"
SELECT_APPLIED = "SELECT number, name, checksum, works_with FROM schema_migrations ORDER BY number"


async def _read_applied(connection: Connection) -> tuple[AppliedMigration, ...]:
    return tuple(
        AppliedMigration(number=row["number"], name=row["name"], checksum=row["checksum"], works_with=row["works_with"])
        for row in await connection.fetch(SELECT_APPLIED)
    )


INSERT_APPLIED = "INSERT INTO schema_migrations (number, name, checksum, works_with) VALUES ($1, $2, $3, $4)"


async def _apply(connection: Connection, migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.statements)
            await connection.execute(
                INSERT_APPLIED, migration.number, migration.name, migration.checksum, migration.works_with
            )
    except asyncpg.PostgresError as error:
        raise MigrationFailed(f"migration {migration.name} failed: {error}") from error
