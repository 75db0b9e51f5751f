"""Requests reach endpoints, and what they return reaches clients, over real HTTP."""

import aiohttp
import pytest

from tests.web.conftest import make_tenant
from tests.web.toy_routes import ROUTES, SEND, V3
from tim_server.web.rate_limits import RateLimit, RateLimits
from tim_server.web.tenants import HostedTenant

CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "X-Requested-With, Content-Type, Authorization",
}


async def test_a_request_reaches_its_endpoint_with_path_and_body(serve):
    server = await serve(*ROUTES)
    content = {"body": "Grüße 😀", "nested": {"f": 1.5, "n": 2**60, "z": None}, "msgtype": "m.text"}
    path = f"{V3}/rooms/%21r%3Aexample.org/send/m.room%2Fmessage/txn%201"
    response = await server.request("PUT", path, json=content)
    assert response.status == 200
    assert server.tenant.events == [
        ("@alice:example.org", "!r:example.org", "m.room/message", "txn 1", content),
    ]


async def test_the_response_is_json_with_what_is_set_and_stored_bytes_spliced(serve):
    server = await serve(*ROUTES)
    response = await server.request("PUT", SEND, data=b"{}")
    assert response.headers["Content-Type"] == "application/json"
    assert response.body == b'{"event_id":"$e","chunk":[{"spliced": true}]}'


@pytest.mark.parametrize(("method", "path"), [("GET", "/_matrix/client/versions"), ("PUT", SEND), ("GET", "/nothing")])
async def test_every_response_has_the_cors_headers(serve, method, path):
    server = await serve(*ROUTES)
    for token in ("alice-token", None):
        response = await server.request(method, path, token=token)
        assert {name: response.headers[name] for name in CORS} == CORS


@pytest.mark.parametrize("path", ["/_matrix/client/versions", SEND, "/nothing"])
async def test_a_preflight_is_answered_anywhere_and_runs_nothing(serve, path):
    server = await serve(*ROUTES)
    response = await server.request("OPTIONS", path, token=None, data=b"nonsense")
    assert response.status == 204
    assert {name: response.headers[name] for name in CORS} == CORS
    assert server.tenant.events == []


async def test_other_kinds_of_responses(serve):
    server = await serve(*ROUTES)
    page = await server.request("GET", f"{V3}/page", token=None)
    assert (page.headers["Content-Type"], page.headers["X-Page"]) == ("text/html; charset=utf-8", "1")
    assert page.body == b"<p>"
    redirect = await server.request("GET", f"{V3}/redirect", token=None)
    assert (redirect.status, redirect.headers["Location"]) == (302, "https://idp.example.org/?a=b")
    created = await server.request("GET", f"{V3}/created", token=None)
    assert (created.status, created.headers["ETag"], created.body) == (201, '"1"', b"{}")


async def test_json_may_be_made_piece_by_piece(serve):
    server = await serve(*ROUTES)
    answer = await server.request("GET", f"{V3}/pieces?how=well", token=None)
    assert (answer.status, answer.json(), answer.headers["Content-Type"]) == (200, [0, 1, 2, 3], "application/json")
    assert (await server.request("HEAD", f"{V3}/pieces?how=well", token=None)).body == b""
    assert [entry["status"] for entry in server.log] == [200, 200]


async def test_an_answer_that_breaks_off_is_not_taken_for_the_whole(serve, captured_log):
    server = await serve(*ROUTES)
    with pytest.raises(aiohttp.ClientError):
        await server.request("GET", f"{V3}/pieces?how=broken", token=None)
    (entry,) = [entry for entry in captured_log if entry["event"] == "answer_broken_off"]
    assert (entry["error"], "secret" in str(entry["trace"])) == ("KeyError", False)
    assert (await server.request("GET", f"{V3}/pieces?how=well", token=None)).json() == [0, 1, 2, 3]


async def test_head_has_the_headers_of_get_and_no_body(serve):
    server = await serve(*ROUTES)
    response = await server.request("HEAD", "/_matrix/client/versions", token=None)
    assert response.status == 200
    assert response.headers["Content-Length"] == str(len(b'{"versions":["v1.18"]}'))
    assert response.body == b""


@pytest.mark.parametrize("data", [None, b"", b"{}", b'{"reason":"x","unknown":1}'])
async def test_a_body_of_optional_keys_may_be_left_out(serve, data):
    server = await serve(*ROUTES)
    assert (await server.request("POST", f"{V3}/leave", data=data)).status == 200


@pytest.mark.parametrize("data", [None, b"", b"{}", b"nonsense"])
async def test_a_body_that_no_field_takes_is_ignored(serve, data):
    server = await serve(*ROUTES)
    assert (await server.request("POST", f"{V3}/logout", data=data)).status == 200
    assert (await server.request("GET", f"{V3}/whoami", data=data)).status == 200


async def test_a_token_is_optional_where_the_route_says_so(serve):
    server = await serve(*ROUTES)
    for token, user in ((None, None), ("alice-token", "@alice:example.org"), ("guest-token", "@guest:example.org")):
        response = await server.request("GET", f"{V3}/whoami", token=token)
        assert response.json()["user_id"] == user


async def test_guests_and_administrators_reach_their_routes(serve):
    server = await serve(*ROUTES)
    messages = f"{V3}/rooms/!r:example.org/messages?dir=b"
    assert (await server.request("GET", messages, token="guest-token")).status == 200
    assert (await server.request("GET", f"{V3}/admin", token="admin-token")).status == 200


async def test_the_scheme_of_the_authorization_header_has_any_case(serve):
    server = await serve(*ROUTES)
    response = await server.request("GET", f"{V3}/whoami", token=None, headers={"authorization": "bEARER alice-token"})
    assert response.json()["user_id"] == "@alice:example.org"


async def test_tokens_in_the_query_and_r0_paths_are_served_where_switched_on(serve):
    server = await serve(*ROUTES, policy={"accept_query_tokens": True, "serve_r0": True})
    response = await server.request("GET", "/_matrix/client/r0/whoami?access_token=alice-token", token=None)
    assert response.json()["user_id"] == "@alice:example.org"
    assert await server.error("PUT", SEND + "?access_token=foreign", token=None) == (401, "M_UNKNOWN_TOKEN")


async def test_uploads_are_streamed_up_to_their_own_limit(serve):
    server = await serve(*ROUTES)
    response = await server.request("POST", f"{V3}/upload", data=b"x" * 99_999, headers={"Content-Type": "image/png"})
    assert response.json() == {"size": 99_999, "type": "image/png", "announced": 99_999}
    assert await server.error("POST", f"{V3}/upload", data=b"x" * 100_001) == (413, "M_TOO_LARGE")

    async def chunks():
        for _ in range(11):
            yield b"x" * 10_000

    assert await server.error("POST", f"{V3}/upload", data=chunks()) == (413, "M_TOO_LARGE")


async def test_the_client_is_invited_to_send_its_body_once_nothing_else_is_wrong(serve):
    server = await serve(*ROUTES)
    head = f"PUT {SEND} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n"
    reader, writer = await server.connect()
    writer.write(f"{head}Authorization: Bearer alice-token\r\n\r\n".encode())
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"{}")
    assert (await reader.read(1000)).startswith(b"HTTP/1.1 200 OK")
    writer.close()
    refused = await server.raw(f"{head}\r\n".encode())
    assert refused.startswith(b"HTTP/1.1 401 ")


async def test_pipelined_requests_are_answered_in_order(serve):
    server = await serve(*ROUTES)
    one = b"GET /_matrix/client/versions HTTP/1.1\r\nHost: a\r\n\r\n"
    two = b"GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    reader, writer = await server.connect()
    writer.write(one + two)
    answer = await reader.read(-1)
    writer.close()
    assert answer.index(b"200 OK") < answer.index(b"404 Not Found")


async def test_hosts_lead_to_tenants_and_unknown_hosts_to_none(serve):
    north, south = make_tenant("north.org"), make_tenant("south.org")
    tenants = [
        HostedTenant(homeserver=north, host_names=["north.org", "matrix.north.org"]),
        HostedTenant(homeserver=south, host_names=["South.org:8448"]),
    ]
    server = await serve(*ROUTES, tenants=tenants)

    async def name_at(host):
        response = await server.request("GET", f"{V3}/whoami", headers={"Host": host})
        return response.json().get("server", response.status)

    assert await name_at("north.org") == "north.org"
    assert await name_at("Matrix.North.org:8448") == "north.org"
    assert await name_at("south.org:8448") == "south.org"
    assert await name_at("south.org") == 404
    assert await name_at("east.org") == 404
    headers = {"Host": "east.org"}
    assert await server.error("PUT", SEND, data=b"{}", headers=headers) == (404, "M_UNRECOGNIZED")


async def test_a_single_tenant_answers_any_host(serve):
    server = await serve(*ROUTES)
    assert (await server.request("GET", f"{V3}/whoami", headers={"Host": "127.0.0.1"})).status == 200


def limited(*, burst, **options):
    return {"rate_limits": RateLimits({"default": RateLimit(per_second=0.1, burst=burst)}, **options)}


async def test_limits_and_compatibility_switches_are_each_tenants_own(serve):
    strict = HostedTenant(homeserver=make_tenant("strict"), host_names=["strict"], **limited(burst=1))
    lax = HostedTenant(homeserver=make_tenant("lax"), host_names=["lax"], accept_query_tokens=True, serve_r0=True)
    server = await serve(*ROUTES, tenants=[strict, lax])

    async def get(host, path, **options):
        return await server.error("GET", path, headers={"Host": host}, **options)

    async def status(host, path, **options):
        return (await server.request("GET", path, headers={"Host": host}, **options)).status

    assert [await status("strict", f"{V3}/whoami") for _ in range(2)] == [200, 429]
    assert [await status("lax", f"{V3}/whoami") for _ in range(5)] == [200] * 5
    in_query = f"{V3}/rooms/!r:example.org/messages?dir=b&access_token=alice-token"
    assert await get("strict", in_query, token=None) == (401, "M_MISSING_TOKEN")
    assert await status("lax", in_query, token=None) == 200
    assert await get("strict", "/_matrix/client/r0/whoami") == (404, "M_UNRECOGNIZED")
    assert await status("lax", "/_matrix/client/r0/whoami") == 200
    refused = await server.request("POST", "/_matrix/client/r0/whoami", headers={"Host": "lax"})
    assert (refused.status, refused.headers["Allow"]) == (405, "GET, OPTIONS")


async def test_exempt_accounts_are_not_limited(serve):
    server = await serve(*ROUTES, policy=limited(burst=1, exempt=["@guest:example.org"]))
    assert [(await server.request("GET", f"{V3}/whoami")).status for _ in range(2)] == [200, 429]
    statuses = [(await server.request("GET", f"{V3}/whoami", token="guest-token")).status for _ in range(5)]
    assert statuses == [200] * 5


async def test_two_tenants_of_one_name_are_refused_at_the_start(serve):
    tenants = [HostedTenant(homeserver=make_tenant(), host_names=[name]) for name in ("a.org", "A.org")]
    with pytest.raises(ValueError, match="two tenants"):
        await serve(*ROUTES, tenants=tenants)


async def test_an_account_over_its_rate_is_told_when_to_come_back(serve):
    server = await serve(*ROUTES, policy=limited(burst=3))
    statuses = [(await server.request("GET", f"{V3}/whoami")).status for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    response = await server.request("GET", f"{V3}/whoami")
    body = response.json()
    assert body["errcode"] == "M_LIMIT_EXCEEDED"
    assert 5_000 < body["retry_after_ms"] <= 10_000
    assert response.headers["Retry-After"] in {"9", "10"}
    assert (await server.request("GET", f"{V3}/whoami", token="guest-token")).status == 200
    assert (await server.request("GET", f"{V3}/whoami", token=None)).status == 200


async def test_without_an_account_the_address_is_limited(serve):
    server = await serve(*ROUTES, policy=limited(burst=2), trusted_proxies=["127.0.0.0/8"])

    async def status_from(address):
        headers = {"X-Forwarded-For": address}
        return (await server.request("GET", "/_matrix/client/versions", token=None, headers=headers)).status

    assert [await status_from("192.0.2.1") for _ in range(3)] == [200, 200, 429]
    assert await status_from("192.0.2.2") == 200
    assert [await status_from(f"2001:db8::{host}") for host in (1, 2, 3)] == [200, 200, 429]


async def test_a_rate_limit_that_nobody_named_is_refused_at_the_start(serve):
    login_only = {"rate_limits": RateLimits({"login": RateLimit(per_second=1, burst=1)})}
    with pytest.raises(ValueError, match="default"):
        await serve(*ROUTES, policy=login_only)


async def test_endpoints_know_where_the_request_came_from(serve):
    server = await serve(*ROUTES, trusted_proxies=["127.0.0.1"])
    headers = {"X-Forwarded-For": "6.6.6.6, 192.0.2.7", "X-Forwarded-Proto": "https", "User-Agent": "nio"}
    body = (await server.request("GET", f"{V3}/whoami", headers=headers)).json()
    assert (body["address"], body["scheme"], body["user_agent"]) == ("192.0.2.7", "https", "nio")


async def test_forwarded_addresses_of_others_are_not_believed(serve):
    server = await serve(*ROUTES)
    headers = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    body = (await server.request("GET", f"{V3}/whoami", headers=headers)).json()
    assert (body["address"], body["scheme"]) == ("127.0.0.1", "http")
