"""Each operation of the specification is served where one looks for it, or stands in not_served.toml; never both."""

import importlib
import pkgutil
from collections import Counter

import pytest

from tests.architecture.endpoint_rules import endpoint_docstrings
from tests.architecture.operations import (
    API_PACKAGES,
    SERVED_FILE,
    Operation,
    Served,
    not_served,
    operations_by_place,
    render_served,
    served_routes,
    snake_case,
    spec_operations,
)
from tests.architecture.sources import report

MISSING = {key for group in not_served() for key in group.operations}
ROUTES_BY_PLACE = {route.place: route for route in served_routes()}
REMEDY = "(`python -m tests.architecture.operations` takes served operations out)"


def test_every_operation_is_routed_or_has_a_reason() -> None:
    forgotten = [
        f"docs/spec/not_served.toml: {entry.key}: serve `{entry.method} {entry.path}`, or say why it is not served"
        for entry in spec_operations()
        if entry.place not in ROUTES_BY_PLACE and entry.key not in MISSING
    ]
    assert not forgotten, "\n" + "\n".join(forgotten)


def test_no_operation_is_routed_and_listed_as_not_served() -> None:
    both: list[str] = []
    for place, operations in operations_by_place().items():
        if place in ROUTES_BY_PLACE:
            name = ROUTES_BY_PLACE[place].endpoint.__name__
            listed = [entry for entry in operations if entry.key in MISSING]
            both += [entry.key for entry in listed if entry.function == name or len(listed) == len(operations)]
    assert not both, f"docs/spec/not_served.toml: these are served, take them out {REMEDY}: {both}"


def test_not_served_names_operations_that_exist_once() -> None:
    counted = Counter(key for group in not_served() for key in group.operations)
    known = {operation.key for operation in spec_operations()}
    wrong = [key for key, times in counted.items() if times > 1 or key not in known]
    assert not wrong, f"docs/spec/not_served.toml: not an operation of operations.txt, or listed twice: {wrong}"


def test_each_group_says_why_and_when() -> None:
    poor = [group.milestone for group in not_served() if len(group.reason) < 20 or not group.milestone]
    assert not poor, f"docs/spec/not_served.toml: give a reason and a milestone: {poor}"


def test_an_endpoint_is_found_where_the_specification_says() -> None:
    lost: list[str] = []
    for place, operations in operations_by_place().items():
        route = ROUTES_BY_PLACE.get(place)
        homes = {(operation.module, operation.function) for operation in operations}
        if route is not None and (route.endpoint.__module__, route.endpoint.__name__) not in homes:
            module, function = sorted(homes)[0]
            path = module.replace(".", "/")
            lost.append(f"{route.where}: `{place[0]} {place[1]}` belongs to {path}.py as {function}")
    assert not lost, "\n" + "\n".join(lost)


def test_endpoint_docstrings_name_route_and_specification() -> None:
    broken = list(endpoint_docstrings(served_routes()))
    assert not broken, report(broken)


@pytest.mark.parametrize("package", API_PACKAGES)
def test_the_route_table_lists_every_module(package: str) -> None:
    folder = importlib.import_module(f"tim_server.{package}")
    listed = {(route.place, route.endpoint) for route in served_routes()}
    forgotten: list[str] = []
    for found in pkgutil.walk_packages(folder.__path__, f"tim_server.{package}."):
        module = importlib.import_module(found.name)
        routes = getattr(module, "ROUTES", ())
        if any(((route.method, route.path), route.endpoint) not in listed for route in routes):
            forgotten.append(f"{found.name}: its ROUTES are not in tim_server/{package}/routes.py")
    assert not forgotten, "\n" + "\n".join(forgotten)


def test_no_place_is_routed_twice() -> None:
    counted = Counter(route.place for route in served_routes())
    assert not [place for place, times in counted.items() if times > 1]


def test_the_page_of_what_is_served_is_up_to_date() -> None:
    advice = "docs/spec/served.md is old: run `python -m tests.architecture.operations`"
    assert SERVED_FILE.read_text(encoding="utf-8") == render_served(), advice


@pytest.mark.parametrize(
    ("operation_id", "function"),
    [
        ("sendMessage", "send_message"),
        ("getRoomStateWithKey", "get_room_state_with_key"),
        ("logout_all", "logout_all"),
        ("getAccount3PIDs", "get_account_3pids"),
        ("requestTokenTo3PIDMSISDN", "request_token_to_3pid_msisdn"),
        ("delete3pidFromAccount", "delete_3pid_from_account"),
        ("redirectToIdP", "redirect_to_idp"),
        ("uploadContentToMXC", "upload_content_to_mxc"),
        ("sendJoinV2", "send_join_v2"),
    ],
)
def test_an_operation_id_becomes_a_function_name(operation_id: str, function: str) -> None:
    assert snake_case(operation_id) == function


def test_an_openapi_file_becomes_a_module() -> None:
    operation = Operation(method="PUT", path="/", operation_id="x", document="server-server/invites-v2.yaml")
    assert operation.module == "tim_server.federation_api.invites_v2"


async def endpoint_without_words() -> None: ...


def test_an_endpoint_without_title_and_link_is_found() -> None:
    route = Served(method="GET", path="/sample", endpoint=endpoint_without_words, package="client_api")
    assert [violation.rule for violation in endpoint_docstrings([route])] == ["endpoint-title", "endpoint-link"]
