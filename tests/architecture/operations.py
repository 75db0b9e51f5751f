"""The specification's operations, the routes that serve them, and those that are not served yet.

`docs/spec/operations.txt` lists the operations, `docs/spec/not_served.toml` those that are not served, and the route
tables of the API packages say the rest. When endpoints were added,

    python -m tests.architecture.operations

takes them out of not_served.toml and writes the page of what is served, docs/spec/served.md, anew.
"""

import importlib
import importlib.util
import inspect
import re
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.architecture.sources import ROOT

OPERATIONS_FILE = ROOT / "docs/spec/operations.txt"
NOT_SERVED_FILE = ROOT / "docs/spec/not_served.toml"
SERVED_FILE = ROOT / "docs/spec/served.md"
PACKAGE_OF_API = {"client-server": "tim_server.client_api", "server-server": "tim_server.federation_api"}
API_PACKAGES = ("client_api", "federation_api", "admin_api", "tim_api", "console")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of the specification; `document` is the OpenAPI file, such as `client-server/sync.yaml`."""

    method: str
    path: str
    operation_id: str
    document: str

    @property
    def key(self) -> str:
        """How not_served.toml names the operation."""
        return f"{self.document} {self.operation_id}"

    @property
    def place(self) -> tuple[str, str]:
        """Method and path, which a route must have."""
        return (self.method, self.path)

    @property
    def module(self) -> str:
        """The module that holds the endpoint, named after the OpenAPI file."""
        api, _, file = self.document.partition("/")
        return f"{PACKAGE_OF_API[api]}.{file.removesuffix('.yaml').replace('-', '_')}"

    @property
    def function(self) -> str:
        """The endpoint's name."""
        return snake_case(self.operation_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotServed:
    """A group of operations that are not served, why, and what will bring them."""

    milestone: str
    reason: str
    operations: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One route as the tests look at it; `where` its endpoint is defined."""

    method: str
    path: str
    endpoint: Any
    package: str

    @property
    def place(self) -> tuple[str, str]:
        """Method and path."""
        return (self.method, self.path)

    @property
    def where(self) -> str:
        """file:line of the endpoint."""
        code = inspect.unwrap(self.endpoint).__code__
        file = code.co_filename.removeprefix(f"{ROOT}/")
        return f"{file}:{code.co_firstlineno}"


def snake_case(operation_id: str) -> str:
    """The function's name for an operationId: `getRoomStateWithKey` → `get_room_state_with_key`, `3PID` is a word."""
    apart = operation_id.replace("IdP", "Idp")
    apart = re.sub(r"3pid(s?)(?![a-z])", r"_3pid\1_", apart.replace("3PID", "3pid"))
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", apart)
    return re.sub(r"_+", "_", apart).strip("_").lower()


@cache
def spec_operations() -> tuple[Operation, ...]:
    """The operations in the order of the file."""
    lines = (line.split(" ") for line in OPERATIONS_FILE.read_text(encoding="utf-8").splitlines())
    return tuple(
        Operation(method=method, path=path, operation_id=operation_id, document=document)
        for method, path, operation_id, document in lines
    )


@cache
def not_served() -> tuple[NotServed, ...]:
    """The groups of not_served.toml."""
    groups = tomllib.loads(NOT_SERVED_FILE.read_text(encoding="utf-8")).get("group", [])
    return tuple(
        NotServed(milestone=group["milestone"], reason=group["reason"], operations=tuple(group["operations"]))
        for group in groups
    )


@cache
def served_routes() -> tuple[Served, ...]:
    """Every route of the API packages that have a route table."""
    found: list[Served] = []
    for package in API_PACKAGES:
        name = f"tim_server.{package}.routes"
        if importlib.util.find_spec(name) is not None:
            routes = importlib.import_module(name).ROUTES
            found += [Served(method=r.method, path=r.path, endpoint=r.endpoint, package=package) for r in routes]
    return tuple(found)


def operations_by_place() -> dict[tuple[str, str], list[Operation]]:
    """Method and path → the operations there; the specification has two places with two."""
    places: dict[tuple[str, str], list[Operation]] = defaultdict(list)
    for operation in spec_operations():
        places[operation.place].append(operation)
    return places


def render_served() -> str:
    """The text of docs/spec/served.md."""
    routed = {route.place for route in served_routes()}
    missing = {key: group for group in not_served() for key in group.operations}
    served = [entry for entry in spec_operations() if entry.place in routed and entry.key not in missing]
    lines = [
        "# What is served",
        "",
        "Generated by `python -m tests.architecture.operations`; a test compares. The specification is Matrix v1.19.",
        "",
        f"{len(served)} of {len(spec_operations())} operations are served.",
    ]
    for api, title in (("client-server", "Client-Server API"), ("server-server", "Server-Server API")):
        operations = [entry for entry in spec_operations() if entry.document.startswith(f"{api}/")]
        count = sum(entry in served for entry in operations)
        lines += ["", f"## {title}: {count} of {len(operations)}", "", "| | operation | where |", "|---|---|---|"]
        lines += [_operation_row(entry, missing.get(entry.key)) for entry in operations]
    beyond = [route for route in served_routes() if route.place not in operations_by_place()]
    if beyond:
        lines += ["", "## Beyond the specification", "", "| operation | where |", "|---|---|"]
        lines += [f"| `{route.method} {route.path}` | {_place_in_code(route)} |" for route in beyond]
    return "\n".join(lines) + "\n"


def _operation_row(operation: Operation, group: NotServed | None) -> str:
    shown = f"`{operation.method} {operation.path}`"
    if group is not None:
        return f"| – | {shown} | {group.milestone}: {group.reason} |"
    path = operation.module.replace(".", "/")
    return f"| ✓ | {shown} | `{path}.py` `{operation.function}` |"


def _place_in_code(route: Served) -> str:
    return f"`{route.where.partition(':')[0]}` `{route.endpoint.__name__}`"


def prune_not_served() -> None:
    """Take the operations that are routed under their own name out of not_served.toml, and groups that are empty."""
    routed = {(*route.place, route.endpoint.__name__) for route in served_routes()}
    gone = {f'    "{entry.key}",' for entry in spec_operations() if (*entry.place, entry.function) in routed}
    lines = [line for line in NOT_SERVED_FILE.read_text(encoding="utf-8").splitlines() if line not in gone]
    text = re.sub(r"\[\[group\]\]\n[^\[]*operations = \[\n\]\n*", "", "\n".join(lines) + "\n")
    NOT_SERVED_FILE.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    not_served.cache_clear()


if __name__ == "__main__":
    prune_not_served()
    SERVED_FILE.write_text(render_served(), encoding="utf-8")
