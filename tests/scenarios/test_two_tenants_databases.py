"""Two tenants on one PostgreSQL: the role of one reads no row of the other, by whatever way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from tests.scenarios.two_tenants import Tenant
from tim_server.storage.connect import connect
from tim_server.storage.database import schema_of

Pair = tuple[Tenant, Tenant]

REFUSED = (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError)

TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = $1 ORDER BY 1"
SEQUENCES = "SELECT sequencename FROM pg_sequences WHERE schemaname = $1 ORDER BY 1"


@asynccontextmanager
async def role_of(tenant: Tenant) -> AsyncIterator[Any]:
    """A connection as the tenant's own role."""
    connection = await connect(tenant.dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def refused(connection: Any, statement: str, *arguments: Any) -> None:
    """The statement must fail for want of privileges."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.fetch(statement, *arguments)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count(*) FROM {table}",
        "SELECT FROM {table}",
        "TABLE {table} LIMIT 1",
        "COPY {table} TO STDOUT",
        "EXPLAIN ANALYZE SELECT FROM {table}",
        "INSERT INTO {table} SELECT * FROM {table}",
        "DELETE FROM {table}",
        "TRUNCATE {table}",
        "DO $$BEGIN LOCK {table}; END$$",
        "DROP TABLE {table}",
        "ALTER TABLE {table} ADD COLUMN x int",
        "GRANT SELECT ON {table} TO PUBLIC",
        "CREATE VIEW stolen AS SELECT * FROM {table}",
        "CREATE TABLE heir () INHERITS ({table})",
        "CREATE TABLE referrer (LIKE {table} INCLUDING ALL)",
        "ANALYZE {table}",
        "SELECT pg_relation_size('{table}'::regclass)",
        "SELECT * FROM query_to_xml('SELECT * FROM {table}', true, true, '')",
        "SELECT * FROM table_to_xml('{table}', true, true, '')",
    ],
)
async def test_no_statement_reaches_any_table(mine_and_theirs: Pair, statement: str) -> None:
    mine, theirs = mine_and_theirs
    schema = schema_of(theirs.dsn)
    async with role_of(theirs) as owner, role_of(mine) as intruder:
        tables = [row[0] for row in await owner.fetch(TABLES, schema)]
        assert {"events", "users", "access_tokens", "account_data", "profiles", "audit_log"} <= set(tables)
        for table in tables:
            await refused(intruder, statement.format(table=f"{schema}.{table}"))


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE {schema}.planted (x int)",
        "CREATE TABLE public.planted (x int)",
        "CREATE FUNCTION {schema}.planted() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA planted",
        "ALTER SCHEMA {schema} RENAME TO planted",
        "GRANT USAGE ON SCHEMA {schema} TO PUBLIC",
        "DROP SCHEMA {schema} CASCADE",
        "SET ROLE {schema}",
        "SET SESSION AUTHORIZATION {schema}",
        "GRANT {schema} TO {own}",
        "ALTER ROLE {schema} PASSWORD 'known'",
        "ALTER ROLE {schema} SET search_path = {own}",
        "ALTER ROLE {own} SUPERUSER",
        "ALTER ROLE {own} CREATEROLE",
        "ALTER ROLE {own} BYPASSRLS",
        "CREATE ROLE planted",
        "CREATE DATABASE planted",
        "SELECT rolpassword FROM pg_authid",
        "SELECT passwd FROM pg_shadow",
        "SELECT * FROM pg_largeobject",
        "SELECT starelid FROM pg_statistic",
        "SELECT pg_read_file('PG_VERSION')",
        "SELECT pg_ls_dir('.')",
        "SELECT lo_import('/etc/passwd')",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "COPY pg_class TO '/tmp/planted'",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {schema} GRANT SELECT ON TABLES TO PUBLIC",
        "REASSIGN OWNED BY {schema} TO {own}",
        "DROP OWNED BY {schema}",
        "DROP ROLE {schema}",
    ],
)
async def test_no_role_reaches_beyond_its_schema(mine_and_theirs: Pair, statement: str) -> None:
    mine, theirs = mine_and_theirs
    async with role_of(mine) as intruder:
        await refused(intruder, statement.format(schema=schema_of(theirs.dsn), own=schema_of(mine.dsn)))


async def test_sequences_tell_nothing(mine_and_theirs: Pair) -> None:
    mine, theirs = mine_and_theirs
    schema = schema_of(theirs.dsn)
    async with role_of(theirs) as owner, role_of(mine) as intruder:
        sequences = [row[0] for row in await owner.fetch(SEQUENCES, schema)]
        assert sequences
        for sequence in sequences:
            for call in ("nextval('{}')", "currval('{}')", "setval('{}', 1)"):
                await refused(intruder, f"SELECT {call.format(f'{schema}.{sequence}')}")
        assert await intruder.fetch("SELECT * FROM pg_sequences WHERE schemaname = $1 AND last_value > 0", schema) == []


async def test_information_schema_shows_no_table_of_theirs(mine_and_theirs: Pair) -> None:
    mine, theirs = mine_and_theirs
    async with role_of(mine) as intruder:
        for view, column in (("tables", "table_schema"), ("columns", "table_schema"), ("routines", "routine_schema")):
            statement = f"SELECT * FROM information_schema.{view} WHERE {column} = $1"
            assert await intruder.fetch(statement, schema_of(theirs.dsn)) == []
            assert await intruder.fetch(statement, "information_schema") != [] or view == "routines"


async def test_no_catalog_holds_anything_that_they_stored(mine_and_theirs: Pair) -> None:
    """Statistics hold samples of columns, activity holds statements: nothing of either may show."""
    mine, theirs = mine_and_theirs
    async with role_of(theirs) as owner, role_of(mine) as intruder:
        await owner.execute("ANALYZE")
        await owner.fetch(f"SELECT '{theirs.secret}', * FROM profiles WHERE user_id = '{theirs.alice.user_id}'")
        assert await owner.fetchval("SELECT count(*) FROM pg_stats WHERE schemaname = current_schema()") > 0
        catalogs = await intruder.fetch(
            "SELECT quote_ident(nspname) || '.' || quote_ident(relname) FROM pg_class "
            "JOIN pg_namespace ON pg_namespace.oid = relnamespace "
            "WHERE nspname IN ('pg_catalog', 'information_schema') AND relkind IN ('r', 'v')"
        )
        read = 0
        for row in catalogs:
            try:
                found = await intruder.fetchval(
                    f"SELECT count(*) FROM {row[0]} r WHERE strpos(r::text, $1) > 0 OR strpos(r::text, $2) > 0",
                    theirs.secret,
                    f"@alice:{theirs.name}",
                )
            except REFUSED:
                continue
            read += 1
            assert found == 0, row[0]
        assert read > 100


async def test_large_objects_and_functions_stay_with_their_owner(mine_and_theirs: Pair) -> None:
    mine, theirs = mine_and_theirs
    schema = schema_of(theirs.dsn)
    async with role_of(theirs) as owner, role_of(mine) as intruder:
        large_object = await owner.fetchval("SELECT lo_from_bytea(0, $1)", theirs.secret.encode())
        await owner.execute(
            "CREATE FUNCTION reveal() RETURNS text LANGUAGE sql SECURITY DEFINER "
            "AS 'SELECT content::text FROM account_data LIMIT 1'"
        )
        try:
            assert await owner.fetchval("SELECT reveal()") is not None
            await refused(intruder, f"SELECT {schema}.reveal()")
            await refused(intruder, "SELECT lo_get($1)", large_object)
            await refused(intruder, "SELECT lo_put($1, 0, ''::bytea)", large_object)
            await refused(intruder, "SELECT lo_unlink($1)", large_object)
        finally:
            await owner.execute("DROP FUNCTION reveal()")
            await owner.fetchval("SELECT lo_unlink($1)", large_object)


async def test_connections_of_theirs_cannot_be_looked_at_or_ended(mine_and_theirs: Pair) -> None:
    mine, theirs = mine_and_theirs
    async with role_of(mine) as intruder:
        rows = await intruder.fetch(
            "SELECT pid, query, client_addr FROM pg_stat_activity WHERE usename = $1", schema_of(theirs.dsn)
        )
        assert rows
        for row in rows:
            assert (row["query"], row["client_addr"]) == ("<insufficient privilege>", None)
            await refused(intruder, "SELECT pg_terminate_backend($1)", row["pid"])
            await refused(intruder, "SELECT pg_cancel_backend($1)", row["pid"])


async def test_a_listener_on_their_channel_hears_that_something_happened_and_not_what(mine_and_theirs: Pair) -> None:
    mine, theirs = mine_and_theirs
    heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    async with role_of(mine) as intruder:
        channel = f"commits_{schema_of(theirs.dsn)}"
        await intruder.add_listener(channel, lambda _connection, _pid, name, payload: heard.put_nowait((name, payload)))
        await theirs.alice.say(theirs.room_id, theirs.secret)
        assert await asyncio.wait_for(heard.get(), 10) == (channel, "")


async def test_a_notification_by_others_makes_the_server_do_nothing_but_look(mine_and_theirs: Pair) -> None:
    mine, theirs = mine_and_theirs
    async with role_of(mine) as intruder:
        for payload in ("", "nonsense", "x" * 7000):
            await intruder.execute("SELECT pg_notify($1, $2)", f"commits_{schema_of(theirs.dsn)}", payload)
    event_id = await theirs.alice.say(theirs.room_id, "still here")
    assert (await theirs.alice.event(theirs.room_id, event_id))["content"]["body"] == "still here"
