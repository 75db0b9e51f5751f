"""SQL is plain, stands in storage, and fits the migrated schema."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.architecture.house_rules import Rule
from tests.architecture.sources import package_modules, parse_module, report
from tests.architecture.sql_rules import SQL_RULES, Statement, statements


@pytest.fixture
async def connection(tenant_dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(tenant_dsn, statement_cache_size=0)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize("rule", SQL_RULES, ids=lambda rule: rule.__name__)
def test_rule_holds_in_the_package(rule: Rule) -> None:
    broken = [violation for module in package_modules() for violation in rule(module)]
    assert not broken, report(broken)


async def test_every_statement_fits_the_migrated_schema(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    refused: list[str] = []
    found = list(statements())
    for statement in found:
        if complaint := await _complaint(connection, statement):
            refused.append(f"{statement.path}:{statement.line}: {statement.name}: {complaint}")
    assert found, "no statement found in tim_server/storage: the test looks at nothing"
    assert not refused, "\n" + "\n".join(refused)


async def test_a_statement_that_does_not_fit_is_found(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    statement = Statement(path="sample.py", line=1, name="READ", sql="SELECT no_such_column FROM no_such_table")
    assert "no_such_table" in await _complaint(connection, statement)


async def _complaint(connection: "asyncpg.Connection[asyncpg.Record]", statement: Statement) -> str:
    """What PostgreSQL says against a statement; empty when it takes it."""
    try:
        await connection.prepare(statement.sql)
    except asyncpg.PostgresError as error:
        return f"{error}"
    return ""


SAMPLES = {
    "sql-outside-storage": ("tim_server/services/sample.py", 'X = "SELECT nid FROM events"\n'),
    "built-sql": ("tim_server/storage/sample.py", 'X = f"SELECT nid FROM {table}"\n'),
    "built-sql ": ("tim_server/storage/sample.py", 'X = f"SELECT nid FROM {TABLES[0]}"\n'),
    "sql-not-constant": ("tim_server/storage/sample.py", 'def read():\n    return "SELECT nid FROM events"\n'),
    "select-star": ("tim_server/storage/sample.py", 'X = "SELECT * FROM events"\n'),
}


@pytest.mark.parametrize("expected", SAMPLES)
def test_a_module_that_breaks_the_rule_is_found(expected: str) -> None:
    module = parse_module(*SAMPLES[expected])
    assert [violation.rule for rule in SQL_RULES for violation in rule(module)] == [expected.strip()]


def test_a_constant_may_name_a_list_of_columns() -> None:
    module = parse_module("tim_server/storage/sample.py", 'X = f"SELECT {EVENT_COLUMNS} FROM events"\n')
    assert [violation.rule for rule in SQL_RULES for violation in rule(module)] == []
