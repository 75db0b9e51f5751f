"""Paths lead to routes; unknown paths and wrong methods are M_UNRECOGNIZED."""

import pytest

from tim_server.matrix.errors import InvalidParam, MethodNotAllowed, Unrecognized
from tim_server.web.parse_target import _remembered, path_segments, query_values, split_target
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.route import Auth, Route
from tim_server.web.router import Router


class Nothing(RequestModel):
    pass


class UserRequest(RequestModel):
    user_id: InPath[str]


class KeyRequest(RequestModel):
    user_id: InPath[str]
    key_name: InPath[str]


class StateRequest(RequestModel):
    event_type: InPath[str]
    state_key: InPath[str] = ""


async def versions(server, request: Nothing): ...
async def rules(server, request: Nothing): ...
async def profile(server, request: UserRequest): ...
async def displayname(server, request: UserRequest): ...
async def profile_key(server, request: KeyRequest): ...
async def state(server, request: StateRequest): ...


V3 = "/_matrix/client/v3"
ROUTES = (
    Route("GET", "/_matrix/client/versions", versions, Auth.NONE),
    Route("GET", f"{V3}/pushrules/", rules, Auth.NONE),
    Route("GET", f"{V3}/profile/{{userId}}", profile, Auth.NONE),
    Route("GET", f"{V3}/profile/{{userId}}/displayname", displayname, Auth.NONE),
    Route("GET", f"{V3}/profile/{{userId}}/{{keyName}}", profile_key, Auth.NONE),
    Route("DELETE", f"{V3}/profile/{{userId}}/{{keyName}}", profile_key, Auth.NONE),
    Route("GET", f"{V3}/state/{{eventType}}/{{stateKey}}", state, Auth.NONE),
)


def find(path, method="GET", **options):
    route, values = Router(ROUTES, **options).find(method, path_segments(path))
    return route.endpoint, values


@pytest.mark.parametrize(
    ("path", "endpoint", "values"),
    [
        ("/_matrix/client/versions", versions, {}),
        (f"{V3}/pushrules/", rules, {}),
        (f"{V3}/pushrules", rules, {}),
        (f"{V3}/profile/%40a%3Ab", profile, {"userId": "@a:b"}),
        (f"{V3}/profile/@a:b", profile, {"userId": "@a:b"}),
        (f"{V3}/profile/@a%2Fdisplayname:b", profile, {"userId": "@a/displayname:b"}),
        (f"{V3}/profile/a%2Fb/displayname", displayname, {"userId": "a/b"}),
        (f"{V3}/profile/a/m.tz", profile_key, {"userId": "a", "keyName": "m.tz"}),
        (f"{V3}/profile/%C3%A4+b", profile, {"userId": "ä+b"}),
        (f"{V3}/state/m.room.name/k", state, {"eventType": "m.room.name", "stateKey": "k"}),
        (f"{V3}/state/m.room.name/", state, {"eventType": "m.room.name"}),
        (f"{V3}/state/m.room.name", state, {"eventType": "m.room.name"}),
    ],
)
def test_a_path_leads_to_its_route(path, endpoint, values):
    assert find(path) == (endpoint, values)


def test_a_literal_segment_that_lacks_the_method_gives_way_to_the_parameter():
    assert find(f"{V3}/profile/a/displayname", "DELETE") == (
        profile_key,
        {"userId": "a", "keyName": "displayname"},
    )


def test_head_is_answered_by_the_route_for_get():
    assert find("/_matrix/client/versions", "HEAD") == (versions, {})


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//",
        "/nothing",
        "/_matrix/client/versions/",
        "/_matrix/client/versions/more",
        f"{V3}/profile/",
        f"{V3}/profile//displayname",
        f"/{V3}/profile/a",
        f"{V3}/profile/a/b/c",
        "/_matrix/client/r0/profile/a",
        "/_matrix%2Fclient/versions",
    ],
)
def test_unknown_paths_are_unrecognized(path):
    with pytest.raises(Unrecognized):
        find(path)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "BREW"])
def test_a_known_path_with_another_method_is_method_not_allowed(method):
    with pytest.raises(MethodNotAllowed):
        find("/_matrix/client/versions", method)


def test_allowed_methods_of_a_path():
    router = Router(ROUTES)
    assert router.methods(path_segments(f"{V3}/profile/a/m.tz")) == ("DELETE", "GET")
    assert router.methods(path_segments("/nothing")) == ()


def test_old_r0_paths_are_served_where_switched_on():
    assert find("/_matrix/client/r0/profile/a", serve_r0=True) == (profile, {"userId": "a"})


def test_two_endpoints_for_one_path_are_refused():
    with pytest.raises(ValueError, match="two routes"):
        Router((*ROUTES, Route("GET", f"{V3}/pushrules", versions, Auth.NONE)))


@pytest.mark.parametrize("path", ["/a%FF", "/a%00", "/%ED%A0%80", "/a\udcff"])
def test_paths_that_cannot_be_stored_are_refused(path):
    with pytest.raises(InvalidParam):
        path_segments(path)


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("/a/b?c=d", ("/a/b", "c=d")),
        ("/a?b?c", ("/a", "b?c")),
        ("http://example.org/a?b", ("/a", "b")),
        ("*", ("/", "")),
    ],
)
def test_request_targets_are_split(target, parts):
    assert split_target(target) == parts


def test_query_values_are_decoded_in_order():
    assert query_values("a=1&b=x+y%2B&a=2&c=") == {"a": ["1", "2"], "b": ["x y+"], "c": [""]}


@pytest.mark.parametrize("query", ["a=%FF", "a=%00", "a=\udcff", "&".join(f"a{n}=1" for n in range(201))])
def test_queries_that_cannot_be_read_are_refused(query):
    with pytest.raises(InvalidParam):
        query_values(query)


def test_decoded_segments_are_remembered_unless_they_are_too_long_to_be_ids():
    _remembered.cache_clear()
    for _ in range(2):
        assert path_segments("/%21" + "r" * 300) == ["!" + "r" * 300]
        assert path_segments("/%21" + "r" * 16_000) == ["!" + "r" * 16_000]
    info = _remembered.cache_info()
    assert (info.hits, info.currsize) == (1, 1)
