"""Requests to other servers: signed as they are sent, sent where the server is, answered within bounds."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from tests.federation.conftest import NAME, WELL_KNOWN, Surroundings
from tim_server.egress.errors import ContactRefused, GateRefused, RemoteUnreachable, ResponseRefused
from tim_server.federation.client import RequestBounds, path_of
from tim_server.federation.errors import RemoteError
from tim_server.federation.srv_records import SrvRecord
from tim_server.matrix.canonical_json import decode, encode
from tim_server.matrix.events.signatures import verify_message
from tim_server.matrix.identifiers import ServerName
from tim_server.matrix.request_auth import parse_authorization, signed_request

PATH = "/_matrix/federation/v1/x"
SPARING = RequestBounds(can_do_without=True)


def answer(value: Any, status: int = 200, **headers: str) -> Callable[[web.BaseRequest], Awaitable[web.Response]]:
    async def respond(_request: web.BaseRequest) -> web.Response:
        return web.json_response(value, status=status, headers=headers)

    return respond


def check_signature(surroundings: Surroundings, request: web.BaseRequest, content: bytes | None) -> None:
    """The request carries one that verifies over what was received."""
    author = surroundings.client.author
    (header,) = request.headers.getall("Authorization")
    signature = parse_authorization(header)
    assert (signature.origin, signature.destination, signature.key_id) == ("here.example", NAME, author.key.key_id)
    message = signed_request(
        method=request.method, uri=request.raw_path, origin="here.example", destination=NAME, content=content
    )
    verify_message(message, signature.signature, author.key.verify_key)


@pytest.mark.parametrize(
    "odd", ["!room:b.example", "a/b", "a%2Fb", "ä ö", "a+b&c=d?e#f", "$x/+=", "~-_.!*'()", "\u2028"]
)
async def test_requests_are_signed_as_they_are_sent(surroundings: Surroundings, odd: str) -> None:
    seen: list[dict[str, Any]] = []

    async def page(request: web.BaseRequest) -> web.Response:
        content = await request.read()
        check_signature(surroundings, request, encode(decode(content)) if content else None)
        assert request.host == NAME
        seen.append({"path": request.rel_url.raw_path.rsplit("/", 1)[1], **request.query})
        return web.json_response({})

    client, path = surroundings.client, path_of("/_matrix/federation/v1/x/{}", odd)
    surroundings.pages[NAME, f"/_matrix/federation/v1/x/{odd}"] = page
    await client.get(NAME, path, {"q": odd})
    await client.put(NAME, path, {"b": odd, "a": [1, None]}, {"q": odd})
    await client.post(NAME, path, {odd: {}}, {"q": odd})
    assert [each["q"] for each in seen] == [odd] * 3


async def test_lists_of_values_are_repeated_in_the_query(surroundings: Surroundings) -> None:
    surroundings.pages[NAME, PATH] = answer({})
    await surroundings.client.get(NAME, PATH, {"v": ["$a", "$b"], "limit": "1"})
    assert surroundings.requests[-1].rel_url.query_string == "v=$a&v=$b&limit=1"


async def test_a_delegated_server_is_asked_by_its_delegated_name_and_signed_for_by_its_own(
    surroundings: Surroundings,
) -> None:
    surroundings.delegate("matrix.example")
    surroundings.pages["matrix.example", PATH] = answer({"is": "there"})
    assert await surroundings.client.get(NAME, PATH) == {"is": "there"}
    check_signature(surroundings, surroundings.requests[-1], None)


async def test_behind_an_srv_record_the_certificate_must_be_for_the_name_itself(surroundings: Surroundings) -> None:
    record = SrvRecord(priority=1, weight=1, port=99, target="machine.example")
    surroundings.records[f"_matrix-fed._tcp.{NAME}"] = [record]
    surroundings.pages[NAME, PATH] = answer({"host": NAME})
    assert await surroundings.client.get(NAME, PATH) == {"host": NAME}


async def test_whoever_has_no_certificate_for_the_name_is_asked_for_nothing(surroundings: Surroundings) -> None:
    surroundings.delegate("bad.example:1")
    with pytest.raises(RemoteUnreachable, match="certificate"):
        await surroundings.client.get(NAME, PATH)
    assert surroundings.asked == [f"{NAME}{WELL_KNOWN}"]


async def test_one_server_does_not_get_the_connection_of_another_behind_the_same_machine(
    surroundings: Surroundings,
) -> None:
    record = SrvRecord(priority=1, weight=1, port=99, target="machine.example")
    surroundings.records |= {f"_matrix-fed._tcp.{name}": [record] for name in (NAME, "stolen.example")}
    surroundings.pages[NAME, PATH] = surroundings.pages["stolen.example", PATH] = answer({})
    await surroundings.client.get(NAME, PATH)
    with pytest.raises(RemoteUnreachable):
        await surroundings.client.get(ServerName("stolen.example"), PATH)
    assert f"stolen.example{PATH}" not in surroundings.asked


@pytest.mark.parametrize("where", ["127.0.0.1:{port}", "localhost:{port}", "[::1]:{port}", "[::ffff:127.0.0.1]:{port}"])
async def test_delegation_does_not_lead_into_our_own_network(surroundings: Surroundings, where: str) -> None:
    surroundings.delegate(where.format(port=surroundings.port + 1))
    with pytest.raises(ContactRefused):
        await surroundings.client.get(NAME, PATH)
    surroundings.delegate("matrix.example")
    surroundings.pages["matrix.example", PATH] = answer({})
    surroundings.now[0] += 301
    assert await surroundings.client.get(NAME, PATH) == {}


@pytest.mark.parametrize("target", ["localhost", "127.0.0.1"])
async def test_neither_do_srv_records(surroundings: Surroundings, target: str) -> None:
    record = SrvRecord(priority=1, weight=1, port=surroundings.port + 1, target=target)
    surroundings.records[f"_matrix-fed._tcp.{NAME}"] = [record]
    with pytest.raises(ContactRefused):
        await surroundings.client.get(NAME, PATH)


@pytest.mark.parametrize("bounds", [RequestBounds(), SPARING])
async def test_whom_the_gate_refuses_is_not_asked(surroundings: Surroundings, bounds: RequestBounds) -> None:
    surroundings.refused.add(NAME)
    surroundings.client.health.failed(NAME)
    with pytest.raises(GateRefused):
        await surroundings.client.get(NAME, PATH, bounds=bounds)
    assert surroundings.asked == []


async def test_redirects_are_errors(surroundings: Surroundings) -> None:
    surroundings.pages[NAME, PATH] = answer({}, 302, Location=f"https://{NAME}:8448/elsewhere")
    with pytest.raises(RemoteError) as raised:
        await surroundings.client.get(NAME, PATH)
    assert raised.value.status == 302
    assert f"{NAME}/elsewhere" not in surroundings.asked


@pytest.mark.parametrize(
    ("page", "status", "errcode", "retry_after_ms"),
    [
        (answer({"errcode": "M_FORBIDDEN", "error": "no"}, 403), 403, "M_FORBIDDEN", None),
        (answer({"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 1500}, 429), 429, "M_LIMIT_EXCEEDED", 1500),
        (answer({"retry_after_ms": 1500}, 429, **{"Retry-After": "7"}), 429, "M_UNKNOWN", 7000),
        (answer({"retry_after_ms": 10**12}, 503), 503, "M_UNKNOWN", 3_600_000),
        (answer({}, 503, **{"Retry-After": "soon"}), 503, "M_UNKNOWN", None),
        (answer({}, 503, **{"Retry-After": "²"}), 503, "M_UNKNOWN", None),
        (answer(["no object"], 500), 500, "M_UNKNOWN", None),
        (answer({"errcode": "\n", "error": 5}, 500), 500, "M_UNKNOWN", None),
        (answer({"errcode": "Mrs Smith is ill"}, 500), 500, "M_UNKNOWN", None),
        (answer({"errcode": "M_" + "X" * 100_000}, 500), 500, "M_UNKNOWN", None),
        (
            answer({"errcode": "org.matrix.msc4155.M_INVITE_BLOCKED"}, 403),
            403,
            "org.matrix.msc4155.M_INVITE_BLOCKED",
            None,
        ),
        (answer("no object"), 200, "M_BAD_JSON", None),
    ],
)
async def test_errors_of_other_servers_are_told_as_they_are(
    surroundings: Surroundings, page: Any, status: int, errcode: str, retry_after_ms: int | None
) -> None:
    surroundings.pages[NAME, PATH] = page
    with pytest.raises(RemoteError) as raised:
        await surroundings.client.get(NAME, PATH)
    error = raised.value
    assert (error.status, error.errcode, error.retry_after_ms) == (status, errcode, retry_after_ms)


async def test_what_another_server_says_stands_in_no_log(surroundings: Surroundings) -> None:
    surroundings.pages[NAME, PATH] = answer({"errcode": "M_X", "error": "Mrs Smith is ill " * 1000}, 400)
    with pytest.raises(RemoteError) as raised:
        await surroundings.client.get(NAME, PATH)
    assert "Smith" not in str(raised.value) and len(raised.value.message) == 500


async def test_answers_are_bounded_in_size_and_time(surroundings: Surroundings) -> None:
    async def slowly(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b" ")
            await asyncio.sleep(0.05)
        return response

    surroundings.pages[NAME, PATH] = answer({"a": "x" * 2000})
    with pytest.raises(ResponseRefused):
        await surroundings.client.get(NAME, PATH, bounds=RequestBounds(size_bytes_max=1000))
    surroundings.pages[NAME, PATH] = slowly
    started = time.monotonic()
    with pytest.raises(RemoteUnreachable):
        await surroundings.client.get(NAME, PATH, bounds=RequestBounds(timeout_s=0.3))
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_a_connection_that_was_closed_meanwhile_costs_no_request(surroundings: Surroundings, method: str) -> None:
    used: set[Any] = set()

    async def once_only(request: web.BaseRequest) -> web.Response:
        assert request.transport is not None
        if request.transport in used:
            request.transport.abort()
        used.add(request.transport)
        return web.json_response({"n": len(used)})

    surroundings.pages[NAME, PATH] = once_only
    client = surroundings.client
    asks = {
        "GET": lambda: client.get(NAME, PATH),
        "PUT": lambda: client.put(NAME, PATH, {}),
        "POST": lambda: client.post(NAME, PATH, {}),
    }
    assert [await asks[method]() for _ in range(3)] == [{"n": 1}, {"n": 2}, {"n": 3}]


async def test_a_server_that_is_down_is_not_asked_for_what_can_be_done_without(surroundings: Surroundings) -> None:
    surroundings.pages[NAME, PATH] = answer({}, 502)
    with pytest.raises(RemoteError):
        await surroundings.client.get(NAME, PATH)
    asked = len(surroundings.asked)
    with pytest.raises(RemoteUnreachable, match="just now"):
        await surroundings.client.get(NAME, PATH, bounds=SPARING)
    assert len(surroundings.asked) == asked
    surroundings.pages[NAME, PATH] = answer({})
    await surroundings.client.get(NAME, PATH)  # which must be tried, and succeeds
    await surroundings.client.get(NAME, PATH, bounds=SPARING)


async def test_a_server_that_refuses_is_not_down(surroundings: Surroundings) -> None:
    for status in (403, 404, 429, 500):
        surroundings.pages[NAME, PATH] = answer({}, status)
        with pytest.raises(RemoteError):
            await surroundings.client.get(NAME, PATH)
        assert not surroundings.client.health.is_backed_off(NAME)


async def test_what_is_not_reached_is_looked_for_elsewhere_the_next_time(surroundings: Surroundings) -> None:
    surroundings.records[f"_matrix-fed._tcp.{NAME}"] = [
        SrvRecord(priority=number, weight=1, port=99, target=target)
        for number, target in enumerate(("dead.example", "machine.example"))
    ]
    surroundings.pages[NAME, PATH] = answer({})
    with pytest.raises(RemoteUnreachable):
        await surroundings.client.get(NAME, PATH)
    assert await surroundings.client.get(NAME, PATH) == {}
