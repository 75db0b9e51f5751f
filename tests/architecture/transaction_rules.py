"""No network inside a transaction: a lock must never wait for somebody else's server.

A heuristic on names: what a function awaits inside `async with ….transaction()` or `….read()`, or anywhere in a
function that is handed an open transaction, must not come from egress, federation or an HTTP library.
"""

import ast
from collections.abc import Iterator

from tests.architecture.sources import Module, Violation

TRANSACTION_METHODS = frozenset({"transaction", "read"})
NETWORK_PACKAGES = ("tim_server.egress", "tim_server.federation", "tim_server.media_store", "aiohttp")
NETWORK_WORDS = frozenset({"egress", "federation", "federation_client", "http", "remote", "remote_servers"})
CONNECTION_ANNOTATIONS = ("Connection", "database.Connection")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def network_in_transaction(module: Module) -> Iterator[Violation]:
    """Nothing that is awaited while a transaction is open goes to the network."""
    imported = _names_from_network(module)
    seen: set[int] = set()
    for block in _transaction_blocks(module):
        for call in _awaited_calls(block):
            words = set(_dotted(call.func))
            if call.lineno not in seen and words & (NETWORK_WORDS | imported):
                seen.add(call.lineno)
                advice = f"{ast.unparse(call.func)} goes to the network: call it before or after the transaction"
                yield Violation(
                    rule="network-in-transaction", path=module.path, line=call.lineno, name="", advice=advice
                )


def _transaction_blocks(module: Module) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.AsyncWith) and any(_opens_transaction(item.context_expr) for item in node.items):
            yield node.body
        if isinstance(node, Function) and _is_handed_a_connection(node):
            yield node.body


def _opens_transaction(expression: ast.expr) -> bool:
    if not isinstance(expression, ast.Call) or not isinstance(expression.func, ast.Attribute):
        return False
    owner = _dotted(expression.func.value)
    of_a_database = bool({"database", "_database", "db", "tx", "connection"} & set(owner))
    return expression.func.attr == "transaction" or (expression.func.attr in TRANSACTION_METHODS and of_a_database)


def _is_handed_a_connection(function: Function) -> bool:
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    annotations = (ast.unparse(argument.annotation) for argument in arguments if argument.annotation is not None)
    return any(annotation in CONNECTION_ANNOTATIONS for annotation in annotations)


def _awaited_calls(body: list[ast.stmt]) -> Iterator[ast.Call]:
    for statement in body:
        for node in ast.walk(statement):
            awaited = (
                [node.value]
                if isinstance(node, ast.Await)
                else [item.context_expr for item in node.items]
                if isinstance(node, ast.AsyncWith)
                else [node.iter]
                if isinstance(node, ast.AsyncFor)
                else []
            )
            yield from (call for call in awaited if isinstance(call, ast.Call))


def _names_from_network(module: Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(NETWORK_PACKAGES):
            names.update(alias.asname or alias.name for alias in node.names)
        if isinstance(node, ast.Import):
            names.update(
                alias.asname or alias.name.rpartition(".")[2]
                for alias in node.names
                if alias.name.startswith(NETWORK_PACKAGES)
            )
    return names


def _dotted(expression: ast.expr) -> list[str]:
    if isinstance(expression, ast.Attribute):
        return [*_dotted(expression.value), expression.attr]
    if isinstance(expression, ast.Call):
        return _dotted(expression.func)
    return [expression.id] if isinstance(expression, ast.Name) else []
