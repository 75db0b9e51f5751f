"""The migration runner, against a real PostgreSQL."""

import asyncio
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from tim_server.storage import migrations as runner
from tim_server.storage.connect import DatabaseUnreachable
from tim_server.storage.embedded import EmbeddedPostgres
from tim_server.storage.migrations import (
    AppliedMigration,
    Migration,
    MigrationFailed,
    SchemaTooNew,
    migrate,
    plan,
    read_migrations,
    read_missing,
)

_names = iter(range(1, 1000))


def migration(number: int = 1, statements: str | None = None, works_with: int | None = None) -> Migration:
    """A migration that creates a table named after its number."""
    return Migration(
        number=number,
        name=f"{number:04}_create_table",
        statements=statements or f"CREATE TABLE t{number} (a integer)",
        works_with=works_with or number,
    )


def applied(of: Migration) -> AppliedMigration:
    return AppliedMigration(number=of.number, name=of.name, checksum=of.checksum, works_with=of.works_with)


@pytest.fixture
async def dsn(postgres: EmbeddedPostgres) -> str:
    """A tenant of this test alone."""
    return await postgres.provision_tenant(f"migrated_{next(_names)}")


async def fetchval(dsn: str, query: str, *arguments: object) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        await connection.close()


async def test_the_migrations_of_this_release_apply_to_an_empty_schema(dsn: str) -> None:
    names = await migrate(dsn)
    assert names == tuple(found.name for found in read_migrations())
    assert await fetchval(dsn, "SELECT count(*) FROM schema_migrations") == len(names)


async def test_a_second_run_applies_nothing(dsn: str) -> None:
    await migrate(dsn, migrations=[migration(1)])
    assert await migrate(dsn, migrations=[migration(1)]) == ()
    assert await migrate(dsn, migrations=[migration(1), migration(2)]) == ("0002_create_table",)


async def test_of_eight_starters_at_once_one_applies(dsn: str) -> None:
    known = [migration(1), migration(2, "SELECT pg_sleep(0.2); CREATE TABLE t2 (a integer)")]
    results = await asyncio.gather(*(migrate(dsn, migrations=known) for _ in range(8)))
    assert sorted(results) == [()] * 7 + [("0001_create_table", "0002_create_table")]


async def test_a_failing_migration_leaves_nothing_of_itself_behind(dsn: str) -> None:
    broken = migration(2, "CREATE TABLE t2 (a integer); SELECT 1/0")
    with pytest.raises(MigrationFailed, match="0002_create_table failed: division by zero"):
        await migrate(dsn, migrations=[migration(1), broken])
    assert await fetchval(dsn, "SELECT to_regclass('t2') IS NULL AND to_regclass('t1') IS NOT NULL")
    assert await migrate(dsn, migrations=[migration(1), migration(2)]) == ("0002_create_table",)


async def test_a_database_of_a_newer_release_is_refused_and_untouched(dsn: str) -> None:
    await migrate(dsn, migrations=[migration(1), migration(2)])
    with pytest.raises(SchemaTooNew, match=r"0002_create_table.*newer release"):
        await migrate(dsn, migrations=[migration(1)])


async def test_a_newer_migration_that_works_with_this_release_is_no_hindrance(dsn: str) -> None:
    await migrate(dsn, migrations=[migration(1), migration(2, works_with=1)])
    assert await migrate(dsn, migrations=[migration(1)]) == ()


async def test_missing_migrations_are_told_without_applying_them(dsn: str) -> None:
    assert await read_missing(dsn, migrations=[migration(1)]) == ("0001_create_table",)
    assert await fetchval(dsn, "SELECT to_regclass('schema_migrations') IS NULL")


async def test_waiting_for_the_lock_ends_with_an_error(dsn: str) -> None:
    holder = await asyncpg.connect(dsn)
    try:
        assert await holder.fetchval(runner.TRY_LOCK)
        with pytest.raises(MigrationFailed, match="another process"):
            await migrate(dsn, migrations=[migration(1)], lock_timeout_s=0.1)
    finally:
        await holder.close()


async def test_the_schema_is_created_where_the_role_has_none(postgres: EmbeddedPostgres, dsn: str) -> None:
    role = await fetchval(dsn, "SELECT current_user")
    admin = await asyncpg.connect(postgres.admin_dsn)
    try:
        await admin.execute(f"DROP SCHEMA {role}; ALTER ROLE {role} RESET search_path")
        with pytest.raises(MigrationFailed, match="may not create it"):
            await migrate(dsn, migrations=[migration(1)])
        await admin.execute(f"GRANT CREATE ON DATABASE timserver TO {role}")
        await migrate(dsn, migrations=[migration(1)])
        assert await admin.fetchval("SELECT schemaname FROM pg_tables WHERE tablename = 't1' AND tableowner = $1", role)
        assert await fetchval(dsn, "SHOW search_path") == role
    finally:
        await admin.close()


async def test_an_unreachable_database_is_said_so_without_its_password() -> None:
    with pytest.raises(DatabaseUnreachable) as caught:
        await migrate("postgresql://user:geheim@127.0.0.1:1/db")
    assert "geheim" not in str(caught.value)


async def test_a_wrong_password_is_said_so(dsn: str) -> None:
    with pytest.raises(DatabaseUnreachable, match="password authentication failed"):
        await migrate(dsn.replace(":", ":wrong", 2).replace("postgresql:wrong", "postgresql:"))


def test_a_migration_changed_after_it_was_applied_is_refused() -> None:
    before = migration(1)
    with pytest.raises(MigrationFailed, match="was changed"):
        plan([replace(before, statements="SELECT 2")], [applied(before)])


def test_a_migration_numbered_before_an_applied_one_is_refused() -> None:
    with pytest.raises(MigrationFailed, match="comes before"):
        plan([migration(1), migration(2)], [applied(migration(2))])


@pytest.mark.parametrize(
    "name", ["1_create_table.sql", "0001-create-table.sql", "0001_create.sql", "0001_Create_T.sql"]
)
def test_a_misnamed_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("SELECT 1")
    with pytest.raises(MigrationFailed, match="NNNN_verb_noun"):
        read_migrations(tmp_path)


def test_a_number_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "0001_create_a.sql").write_text("SELECT 1")
    (tmp_path / "0001_create_b.sql").write_text("SELECT 1")
    with pytest.raises(MigrationFailed, match="same number"):
        read_migrations(tmp_path)


def test_a_file_says_with_which_release_it_works(tmp_path: Path) -> None:
    (tmp_path / "0002_add_index.sql").write_text("-- Adds an index.\n-- works with: 0001\nSELECT 1")
    assert read_migrations(tmp_path)[0].works_with == 1


def test_the_numbers_of_this_release_have_no_gaps() -> None:
    assert [found.number for found in read_migrations()] == list(range(1, len(read_migrations()) + 1))
