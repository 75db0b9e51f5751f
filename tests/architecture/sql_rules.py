"""Where SQL stands and how it is written: plain constants in storage, never built, never outside."""

import ast
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.architecture.sources import Module, Violation, package_modules

STATEMENT = re.compile(
    r"\s*(?:--[^\n]*\n\s*)*(?:SELECT\s|INSERT\s+INTO\s|UPDATE\s+\S+.*\sSET\s|DELETE\s+FROM\s|MERGE\s+INTO\s|WITH\s.*\sAS\s*(?:NOT\s+)?"
    r"(?:MATERIALIZED\s*)?\()",
    re.DOTALL,
)
SELECT_STAR = re.compile(r"\bSELECT\s+(?:\w+\.)?\*(?!\s+FROM\s+unnest\()")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One SQL constant: where it stands and its text."""

    path: str
    line: int
    name: str
    sql: str


def storage_modules() -> tuple[Module, ...]:
    """The modules of tim_server.storage."""
    return tuple(module for module in package_modules() if module.path.startswith("tim_server/storage/"))


def statements() -> Iterator[Statement]:
    """Every UPPER_CASE constant of a storage module that holds a statement that can be prepared."""
    for module in storage_modules():
        values = vars(importlib.import_module(module.dotted_name))
        for name, line in _constants(module):
            value = values[name]
            if isinstance(value, str) and STATEMENT.match(value):
                yield Statement(path=module.path, line=line, name=name, sql=value)


def _constants(module: Module) -> Iterator[tuple[str, int]]:
    for node in module.tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            if isinstance(target, ast.Name) and target.id.lstrip("_").isupper():
                yield target.id, node.lineno


def sql_outside_storage(module: Module) -> Iterator[Violation]:
    """Only storage contains SQL."""
    if module.path.startswith("tim_server/storage/"):
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and STATEMENT.match(node.value):
            advice = "move the statement into a module of tim_server/storage and call a function there"
            yield Violation(rule="sql-outside-storage", path=module.path, line=node.lineno, name="", advice=advice)


def built_sql(module: Module) -> Iterator[Violation]:
    """SQL is a constant with $1 parameters: never put together when it runs.

    A constant of the module may name other constants (a list of columns): it is made once, and prepared by the tests.
    """
    fixed = {id(node.value) for node in module.tree.body if isinstance(node, ast.Assign | ast.AnnAssign)}
    for node in ast.walk(module.tree):
        if _is_built(node) and not (id(node) in fixed and _names_only_constants(node)):
            advice = "write the statement as a constant of the module with $1 parameters"
            line = getattr(node, "lineno", 1)
            yield Violation(rule="built-sql", path=module.path, line=line, name="", advice=advice)


def statement_not_a_constant(module: Module) -> Iterator[Violation]:
    """A statement stands in an UPPER_CASE constant of the module, where the test that prepares it sees it."""
    if not module.path.startswith("tim_server/storage/"):
        return
    for function in ast.walk(module.tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and STATEMENT.match(node.value):
                advice = f"put the statement into an UPPER_CASE constant right above {function.name}"
                yield Violation(
                    rule="sql-not-constant", path=module.path, line=node.lineno, name=function.name, advice=advice
                )


def select_star(module: Module) -> Iterator[Violation]:
    """Columns are named: `SELECT *` changes its meaning with the next migration. What unnest makes is named already."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SELECT_STAR.search(node.value):
            advice = "name the columns instead of SELECT *"
            yield Violation(rule="select-star", path=module.path, line=node.lineno, name="", advice=advice)


SQL_RULES = (sql_outside_storage, built_sql, statement_not_a_constant, select_star)


def _names_only_constants(node: ast.AST) -> bool:
    inserted = [value.value for value in ast.walk(node) if isinstance(value, ast.FormattedValue)]
    return isinstance(node, ast.JoinedStr) and all(
        isinstance(name, ast.Name) and name.id.isupper() for name in inserted
    )


def _is_built(node: ast.AST) -> bool:
    if isinstance(node, ast.JoinedStr):
        first = node.values[0] if node.values else None
        return _is_statement(first)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return _is_statement(node.left)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return _is_statement(node.func.value)
    return False


def _is_statement(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and STATEMENT.match(node.value) is not None
