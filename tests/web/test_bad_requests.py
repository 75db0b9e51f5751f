"""Bad requests of every kind get the spec's error and change nothing."""

import asyncio
import json

import pytest

from tests.web.toy_routes import ROUTES, SEND, V3
from tim_server.web.pipeline import RequestLimits

pytestmark = pytest.mark.asyncio(loop_scope="session")

INVITE = f"{V3}/rooms/!r:example.org/invite"


def deep(depth):
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "errcode"),
    [
        ("GET", "/nothing", {}, 404, "M_UNRECOGNIZED"),
        ("GET", f"{V3}/rooms/!r:example.org", {}, 404, "M_UNRECOGNIZED"),
        ("GET", "/_matrix/client/r0/whoami", {}, 404, "M_UNRECOGNIZED"),
        ("POST", "/_matrix/client/versions", {}, 405, "M_UNRECOGNIZED"),
        ("PATCH", SEND, {}, 405, "M_UNRECOGNIZED"),
        ("PUT", SEND, {"token": None, "data": b"{}"}, 401, "M_MISSING_TOKEN"),
        ("PUT", SEND + "?access_token=alice-token", {"token": None, "data": b"{}"}, 401, "M_MISSING_TOKEN"),
        ("PUT", SEND, {"token": None, "headers": {"Authorization": "Basic YTpi"}}, 401, "M_MISSING_TOKEN"),
        ("PUT", SEND, {"token": None, "headers": {"Authorization": "Bearer "}}, 401, "M_MISSING_TOKEN"),
        ("PUT", SEND, {"token": "foreign", "data": b"{}"}, 401, "M_UNKNOWN_TOKEN"),
        ("PUT", SEND, {"token": "guest-token", "data": b"{}"}, 403, "M_GUEST_ACCESS_FORBIDDEN"),
        ("GET", f"{V3}/admin", {}, 403, "M_FORBIDDEN"),
        ("GET", f"{V3}/admin", {"token": "guest-token"}, 403, "M_GUEST_ACCESS_FORBIDDEN"),
        ("GET", f"{V3}/whoami", {"token": "foreign"}, 401, "M_UNKNOWN_TOKEN"),
        ("PUT", SEND, {"data": b""}, 400, "M_NOT_JSON"),
        ("PUT", SEND, {"data": b"{"}, 400, "M_NOT_JSON"),
        ("PUT", SEND, {"data": b'{"a":"\xff"}'}, 400, "M_NOT_JSON"),
        ("PUT", SEND, {"data": b"[]"}, 400, "M_BAD_JSON"),
        ("PUT", SEND, {"data": b'"text"'}, 400, "M_BAD_JSON"),
        ("PUT", SEND, {"data": b'{"body":"\\u0000"}'}, 400, "M_BAD_JSON"),
        ("PUT", SEND, {"data": b'{"body":"\\ud800"}'}, 400, "M_BAD_JSON"),
        ("PUT", SEND, {"data": deep(10_000)}, 400, "M_BAD_JSON"),
        ("PUT", SEND, {"data": deep(100_000)}, 400, "M_BAD_JSON"),
        ("PUT", f"{V3}/rooms/nonsense/send/m/1", {"data": b"{}"}, 400, "M_INVALID_PARAM"),
        ("PUT", f"{V3}/rooms/!r%00:example.org/send/m/1", {"data": b"{}"}, 400, "M_INVALID_PARAM"),
        ("POST", INVITE, {"json": {}}, 400, "M_MISSING_PARAM"),
        ("POST", INVITE, {"json": {"user_id": 1}}, 400, "M_BAD_JSON"),
        ("POST", INVITE, {"json": {"user_id": "bob"}}, 400, "M_INVALID_PARAM"),
        ("POST", INVITE, {"json": {"user_id": "@b:c", "reason": ["x"]}}, 400, "M_BAD_JSON"),
        ("POST", INVITE, {"json": {"user_id": "@b:c", "reason": "x" * 200}}, 413, "M_TOO_LARGE"),
        ("POST", f"{V3}/leave", {"data": b"nonsense"}, 400, "M_NOT_JSON"),
        ("GET", f"{V3}/rooms/!r:example.org/messages", {}, 400, "M_MISSING_PARAM"),
        ("GET", f"{V3}/rooms/!r:example.org/messages?dir=x", {}, 400, "M_INVALID_PARAM"),
        ("GET", f"{V3}/rooms/!r:example.org/messages?dir=b&limit=-1", {}, 400, "M_INVALID_PARAM"),
        ("GET", f"{V3}/rooms/!r:example.org/messages?dir=b&limit=ten", {}, 400, "M_INVALID_PARAM"),
        ("GET", f"{V3}/fail?how=matrix", {"token": None}, 403, "M_FORBIDDEN"),
    ],
)
async def test_a_bad_request_is_answered_with_the_specs_error(serve, method, path, options, status, errcode):
    server = await serve(*ROUTES)
    assert await server.error(method, path, **options) == (status, errcode)
    assert server.tenant.events == []


async def test_the_error_says_what_is_wrong_but_not_the_value(serve):
    server = await serve(*ROUTES)
    response = await server.request("POST", INVITE, json={"user_id": "secret"})
    body = response.json()
    assert "user_id" in body["error"] and "secret" not in body["error"]


async def test_405_says_what_is_allowed(serve):
    server = await serve(*ROUTES)
    response = await server.request("DELETE", f"{V3}/slow")
    assert response.headers["Allow"] == "GET, PUT, OPTIONS"


async def test_further_fields_of_an_error_are_in_the_body(serve):
    server = await serve(*ROUTES)
    response = await server.request("GET", f"{V3}/fail?how=token", token=None)
    assert response.json()["soft_logout"] is True


@pytest.mark.parametrize("how", ["bug", "cancelled"])
async def test_a_bug_is_500_logged_once_and_tells_nothing(serve, captured_log, how):
    server = await serve(*ROUTES)
    response = await server.request("GET", f"{V3}/fail?how={how}", token=None)
    body = response.json()
    assert (response.status, body) == (500, {"errcode": "M_UNKNOWN", "error": "Internal server error"})
    errors = [event for event in captured_log if event["log_level"] == "error"]
    assert len(errors) == 1
    assert errors[0]["route"] == f"{V3}/fail"
    assert any("toy_routes.py" in place for place in errors[0]["trace"])


def head(*lines):
    return "\r\n".join([*lines, "Host: example.org", "Authorization: Bearer alice-token", "", ""]).encode()


async def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent(serve):
    server = await serve(*ROUTES)
    answer = await server.raw(head(f"PUT {SEND} HTTP/1.1", "Content-Length: 99999999"))
    assert answer.startswith(b"HTTP/1.1 413 ") and b"M_TOO_LARGE" in answer


async def test_a_body_without_a_length_is_refused_at_the_limit(serve):
    server = await serve(*ROUTES, limits=RequestLimits(body_size_bytes_max=10_000))
    chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
    answer = await server.raw(head(f"PUT {SEND} HTTP/1.1", "Transfer-Encoding: chunked") + chunk * 4)
    assert answer.startswith(b"HTTP/1.1 413 ") and b"M_TOO_LARGE" in answer


async def test_a_compressed_body_is_refused_at_the_limit_of_what_it_becomes(serve):
    import zlib

    server = await serve(*ROUTES)
    data = zlib.compress(json.dumps({"a": "x" * 50_000_000}).encode())
    assert len(data) < 100_000
    assert await server.error("PUT", SEND, data=data, headers={"Content-Encoding": "deflate"}) == (413, "M_TOO_LARGE")


@pytest.mark.parametrize("long", ["header", "address"])
async def test_a_header_or_address_that_is_too_long_is_refused(serve, long):
    server = await serve(*ROUTES, header_size_bytes_max=20_000)
    for size, status in ((19_000, b" 200 "), (21_000, b" 431 ")):
        text = "x" * size
        target = f"{V3}/whoami?q={text}" if long == "address" else f"{V3}/whoami"
        answer = await server.raw(head(f"GET {target} HTTP/1.1", *([f"X-Long: {text}"] if long == "header" else [])))
        assert status in answer.splitlines()[0]
    assert b"M_TOO_LARGE" in answer


async def test_a_slow_body_times_out(serve):
    server = await serve(*ROUTES, limits=RequestLimits(body_timeout_seconds=0.2))
    answer = await server.raw(head(f"PUT {SEND} HTTP/1.1", "Content-Length: 10") + b"{")
    assert answer.startswith(b"HTTP/1.1 408 ") and b"M_UNKNOWN" in answer


async def test_a_body_that_drips_times_out_as_a_whole(serve):
    server = await serve(*ROUTES, limits=RequestLimits(body_timeout_seconds=0.3))
    reader, writer = await server.connect()
    writer.write(head(f"PUT {SEND} HTTP/1.1", "Content-Length: 1000"))

    async def drip():
        for _ in range(50):
            writer.write(b" ")
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    answer = await asyncio.wait_for(reader.read(1000), 2)
    dripping.cancel()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_the_token_is_checked_before_the_body_arrives(serve):
    server = await serve(*ROUTES)
    request = head(f"PUT {SEND} HTTP/1.1", "Content-Length: 10").replace(b"alice-token", b"foreign")
    answer = await server.raw(request)
    assert answer.startswith(b"HTTP/1.1 401 ") and b"M_UNKNOWN_TOKEN" in answer


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_a_matrix_error_too(serve, captured_log, data):
    server = await serve(*ROUTES)
    answer = await server.raw(data)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")) and b'"errcode":"M_UNKNOWN"' in answer
    assert [event for event in captured_log if event["log_level"] == "error"] == []


async def test_a_body_that_is_encoded_wrongly_is_refused_and_nobodys_error(serve, caplog):
    server = await serve(*ROUTES)
    answer = await server.raw(head(f"PUT {SEND} HTTP/1.1", "Content-Encoding: gzip", "Content-Length: 7") + b"notgzip")
    assert answer.split(b" ")[1] == b"400" and b"M_UNKNOWN" in answer
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_malformed_chunk_is_refused(serve):
    server = await serve(*ROUTES)
    answer = await server.raw(head(f"PUT {SEND} HTTP/1.1", "Transfer-Encoding: chunked") + b"zz\r\n{}\r\n0\r\n\r\n")
    assert answer.split(b" ")[1] == b"400" and b"M_UNKNOWN" in answer
    assert server.tenant.events == []
