"""The migrated schema: each table has its contract, each key is compared by bytes."""

import importlib
import re
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.architecture.sources import ROOT
from tests.architecture.sql_rules import storage_modules
from tim_server.storage.table_contract import TableContract

TABLES_OF_THE_SCHEMA = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND NOT c.relispartition
"""
KEY_COLUMNS_WITHOUT_C = """
SELECT DISTINCT t.relname AS table_name, a.attname AS column_name
  FROM pg_index i
  JOIN pg_class t ON t.oid = i.indrelid
  JOIN pg_namespace n ON n.oid = t.relnamespace
  JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = ANY (i.indkey)
  JOIN pg_collation c ON c.oid = a.attcollation
 WHERE n.nspname = current_schema() AND c.collname <> 'C'
"""
INDEX_EXPRESSIONS_WITHOUT_C = """
SELECT DISTINCT t.relname AS table_name, x.relname AS column_name
  FROM pg_index i
  JOIN pg_class t ON t.oid = i.indrelid
  JOIN pg_class x ON x.oid = i.indexrelid
  JOIN pg_namespace n ON n.oid = t.relnamespace
  JOIN pg_collation c ON c.oid = ANY (i.indcollation::oid[])
 WHERE n.nspname = current_schema() AND c.collname <> 'C'
"""


@pytest.fixture
async def connection(tenant_dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(tenant_dsn, statement_cache_size=0)
    try:
        yield connection
    finally:
        await connection.close()


def declared_tables() -> dict[str, tuple[str, TableContract]]:
    """Table name → (module, contract), from the TABLES of every storage module."""
    declared: dict[str, tuple[str, TableContract]] = {}
    for module in storage_modules():
        for contract in getattr(importlib.import_module(module.dotted_name), "TABLES", ()):
            known = declared.setdefault(contract.name, (module.path, contract))
            assert known[0] == module.path, f"{module.path}: {contract.name} is also declared in {known[0]}: keep one"
    return declared


async def test_every_table_has_a_contract_and_every_contract_a_table(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    tables = {row["relname"] for row in await connection.fetch(TABLES_OF_THE_SCHEMA)}
    declared = declared_tables()
    assert tables, "the schema of the fixture holds no table"
    undeclared = [
        f"{_place_in_migrations(name)}: declare {name} in a TABLES of tim_server/storage"
        for name in sorted(tables - set(declared))
    ]
    missing = [
        f"{declared[name][0]}: TABLES declares {name}, which no migration makes"
        for name in sorted(set(declared) - tables)
    ]
    assert not undeclared + missing, "\n" + "\n".join(undeclared + missing)


def test_each_contract_says_owner_bound_and_reaper() -> None:
    for path, contract in declared_tables().values():
        empty = [field for field in ("owner", "bound", "reaper") if not getattr(contract, field).strip()]
        assert not empty, f"{path}: the contract of {contract.name} leaves {', '.join(empty)} empty"


async def test_every_text_key_is_compared_by_bytes(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    rows = [*await connection.fetch(KEY_COLUMNS_WITHOUT_C), *await connection.fetch(INDEX_EXPRESSIONS_WITHOUT_C)]
    wrong = {(row["table_name"], row["column_name"]) for row in rows}
    advice = [
        f'{_place_in_migrations(table)}: {table}.{column} is a key: add COLLATE "C"' for table, column in sorted(wrong)
    ]
    assert not advice, "\n" + "\n".join(advice)


async def test_a_key_without_the_collation_is_found(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("CREATE TABLE sample (name text PRIMARY KEY)")
        rows = await connection.fetch(KEY_COLUMNS_WITHOUT_C)
    finally:
        await transaction.rollback()
    assert ("sample", "name") in {(row["table_name"], row["column_name"]) for row in rows}


def test_migrations_are_numbered_without_a_gap() -> None:
    names = sorted(path.name for path in (ROOT / "migrations").glob("*.sql"))
    assert all(re.fullmatch(r"\d{4}_[a-z]+(?:_[a-z0-9]+)+\.sql", name) for name in names), (
        f"NNNN_verb_noun.sql: {names}"
    )
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1)), (
        f"migrations: a gap or a double: {names}"
    )


def _place_in_migrations(table: str) -> str:
    """file:line of the statement that makes a table."""
    pattern = re.compile(rf"CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?{re.escape(table)}\b")
    for path in sorted((ROOT / "migrations").glob("*.sql")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if pattern.search(line):
                return f"{path.relative_to(ROOT).as_posix()}:{number}"
    return "migrations"
