"""Bad requests of every kind give the error that the specification names, and change nothing: tokens, JSON, sizes.

Spec: https://spec.matrix.org/v1.19/client-server-api/#standard-error-response
"""

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.people import CLIENT
from tests.scenarios.ward import Ward

SEND = "PUT rooms/{room}/send/m.room.message/1"
TEXT = {"msgtype": "m.text", "body": "hello"}
NAME = "PUT rooms/{room}/state/m.room.name"

CALLS = [
    (SEND, TEXT),
    (NAME, {"name": "x"}),
    ("PUT rooms/{room}/redact/{message}/1", {}),
    ("POST createRoom", {}),
    ("POST join/{room}", {}),
    ("POST rooms/{room}/join", {}),
    ("POST rooms/{room}/leave", {}),
    ("POST rooms/{room}/invite", {"user_id": "{stranger}"}),
    ("POST rooms/{room}/kick", {"user_id": "{bob}"}),
    ("POST rooms/{room}/ban", {"user_id": "{bob}"}),
    ("POST rooms/{room}/unban", {"user_id": "{mallory}"}),
    ("POST rooms/{room}/forget", {}),
    ("GET rooms/{room}/messages?dir=b", None),
    ("GET rooms/{room}/state", None),
    ("GET rooms/{room}/members", None),
    ("GET rooms/{room}/event/{message}", None),
    ("POST rooms/{room}/upgrade", {"new_version": "12"}),
    ("GET joined_rooms", None),
    ("POST publicRooms", {}),
    ("POST user_directory/search", {"search_term": "x"}),
    ("GET /_matrix/client/v1/room_summary/{room}", None),
    ("GET /_matrix/client/v1/rooms/{room}/hierarchy", None),
    ("GET sync", None),
    ("GET pushrules/", None),
    ("PUT pushrules/global/room/{room}", {"actions": []}),
    ("PUT pushrules/global/override/.m.rule.master/enabled", {"enabled": True}),
    ("GET notifications", None),
    ("PUT directory/room/%23new:hospital.example", {"room_id": "{room}"}),
    ("DELETE directory/room/%23other:hospital.example", None),
    ("PUT directory/list/room/{room}", {"visibility": "public"}),
    ("PUT profile/{alice}/displayname", {"displayname": "x"}),
    ("PUT user/{alice}/account_data/org.example.x", {}),
    ("POST user/{alice}/filter", {}),
    ("PUT user/{alice}/rooms/{room}/tags/u.x", {}),
    ("POST rooms/{room}/receipt/m.read/{message}", {}),
    ("POST rooms/{room}/read_markers", {"m.fully_read": "{message}"}),
    ("PUT rooms/{room}/typing/{alice}", {"typing": True}),
    ("PUT presence/{alice}/status", {"presence": "online"}),
    ("GET presence/{alice}/status", None),
    ("POST account/password", {"new_password": "a new password"}),
    ("POST account/deactivate", {}),
    ("POST logout", {}),
    ("POST logout/all", {}),
    ("GET account/whoami", None),
]
TOKENS = {
    "nobody": "401 M_MISSING_TOKEN",
    "foreign": "401 M_UNKNOWN_TOKEN",
    "expired": "401 M_UNKNOWN_TOKEN",
    "revoked": "401 M_UNKNOWN_TOKEN",
    "long": "401 M_UNKNOWN_TOKEN",
    "binary": "401 M_UNKNOWN_TOKEN",
}


@pytest.mark.parametrize("who", TOKENS)
async def test_without_a_valid_token_nothing_is_done(ward: Ward, who: str) -> None:
    async with ward.tables.unchanged():
        for request_line, body in CALLS:
            if who == "nobody" and request_line.startswith("POST account/"):
                continue  # without a token these begin interactive authentication
            answer = await ward.refuses(who, request_line, body, TOKENS[who])
            assert answer.get("soft_logout", False) is (who == "expired")


async def test_a_token_in_the_query_is_none(ward: Ward) -> None:
    token = ward.people["alice"].token
    await ward.refuses("nobody", f"GET account/whoami?access_token={token}", None, "401 M_MISSING_TOKEN")
    await ward.refuses("nobody", f"{SEND}?access_token={token}", TEXT, "401 M_MISSING_TOKEN")


def nested(depth: int, opening: str = '{"a":', closing: str = "}") -> str:
    return '{"msgtype":"m.text","body":"x","deep":' + opening * depth + "1" + closing * depth + "}"


BODIES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "M_NOT_JSON"),
    "cut off": ('{"msgtype":"m.text","body":', "M_NOT_JSON"),
    "text": ("hello", "M_NOT_JSON"),
    "form": ("msgtype=m.text&body=x", "M_NOT_JSON"),
    "single quotes": ("{'msgtype':'m.text','body':'x'}", "M_NOT_JSON"),
    "trailing comma": ('{"msgtype":"m.text","body":"x",}', "M_NOT_JSON"),
    "trailing garbage": ('{"msgtype":"m.text","body":"x"} {}', "M_NOT_JSON"),
    "comment": ('{"msgtype":"m.text","body":"x"/* */}', "M_NOT_JSON"),
    "NaN": ('{"msgtype":"m.text","body":"x","n":NaN}', "M_NOT_JSON"),
    "Infinity": ('{"msgtype":"m.text","body":"x","n":-Infinity}', "M_NOT_JSON"),
    "control character": ('{"msgtype":"m.text","body":"a\tb"}', "M_NOT_JSON"),
    "not UTF-8": (b'{"msgtype":"m.text","body":"\xff"}', "M_NOT_JSON"),
    "UTF-16": ('{"msgtype":"m.text","body":"x"}'.encode("utf-16"), "M_NOT_JSON"),
    "byte order mark": ('\ufeff{"msgtype":"m.text","body":"x"}', "M_NOT_JSON"),
    "surrogate in UTF-8": (b'{"msgtype":"m.text","body":"\xed\xa0\x80"}', "M_NOT_JSON"),
    "list": ("[]", "M_BAD_JSON"),
    "string": ('"hello"', "M_BAD_JSON"),
    "number": ("1", "M_BAD_JSON"),
    "null": ("null", "M_BAD_JSON"),
    "lone surrogate": ('{"msgtype":"m.text","body":"\\ud800"}', "M_BAD_JSON"),
    "lone low surrogate in a key": ('{"msgtype":"m.text","body":"x","\\udc00":1}', "M_BAD_JSON"),
    "NUL": ('{"msgtype":"m.text","body":"a\\u0000b"}', "M_BAD_JSON"),
    "NUL in a key": ('{"msgtype":"m.text","body":"x","\\u0000":1}', "M_BAD_JSON"),
    "fraction": ('{"msgtype":"m.text","body":"x","n":1.5}', "M_BAD_JSON"),
    "whole fraction": ('{"msgtype":"m.text","body":"x","n":1.0}', "M_BAD_JSON"),
    "exponent": ('{"msgtype":"m.text","body":"x","n":1e3}', "M_BAD_JSON"),
    "number out of range": ('{"msgtype":"m.text","body":"x","n":1e400}', "M_BAD_JSON"),
    "2^53": ('{"msgtype":"m.text","body":"x","n":9007199254740992}', "M_BAD_JSON"),
    "-2^53": ('{"msgtype":"m.text","body":"x","n":-9007199254740992}', "M_BAD_JSON"),
    "2^64": ('{"msgtype":"m.text","body":"x","n":[18446744073709551616]}', "M_BAD_JSON"),
    "5,000 digits": ('{"msgtype":"m.text","body":"x","n":' + "9" * 5_000 + "}", "M_BAD_JSON"),
    "10,000 objects deep": (nested(10_000), "M_BAD_JSON"),
    "10,000 lists deep": (nested(10_000, "[", "]"), "M_BAD_JSON"),
    "100,000 lists deep": (nested(100_000, "[", "]"), "M_BAD_JSON"),
    "never closed": ("[" * 100_000, "M_BAD_JSON"),
}


@pytest.mark.parametrize("kind", BODIES)
async def test_bodies_that_are_no_event_content(ward: Ward, kind: str) -> None:
    body, errcode = BODIES[kind]
    raw = body if isinstance(body, bytes) else body.encode()
    async with ward.tables.unchanged():
        for room in ("v5", "v9", "v12"):
            for place in ("send/m.room.message/1", "state/org.example.state/x"):
                await ward.refuses("alice", f"PUT rooms/{{{room}}}/{place}", raw, f"400 {errcode}")


@pytest.mark.parametrize(
    ("request_line", "body", "expected"),
    [
        (SEND, {"msgtype": "m.text", "body": "x" * 65_536}, "413 M_TOO_LARGE"),
        (SEND, {"msgtype": "m.text", "body": "ü" * 32_700}, "413 M_TOO_LARGE"),
        (SEND, {"msgtype": "m.text", "body": "x" * 65_000, "n": list(range(200))}, "413 M_TOO_LARGE"),
        (NAME, {"name": "x" * 65_536}, "413 M_TOO_LARGE"),
        (SEND, {"msgtype": "m.text", "body": "x" * 2_000_000}, "413 M_TOO_LARGE"),
        ("PUT rooms/{room}/send/" + "t" * 256 + "/1", {}, "413 M_TOO_LARGE"),
        ("PUT rooms/{room}/state/org.example.state/" + "k" * 256, {}, "413 M_TOO_LARGE"),
        ("PUT rooms/{room}/state/org.example.state/" + quote("ü" * 128), {}, "413 M_TOO_LARGE"),
        ("POST createRoom", {"topic": "x" * 65_536}, "413 M_TOO_LARGE"),
        ("PUT user/{alice}/account_data/org.example.x", {"x": "y" * 65_536}, "413 M_TOO_LARGE"),
        ("PUT user/{alice}/account_data/" + "t" * 256, {}, "400 M_INVALID_PARAM"),
        ("PUT profile/{alice}/org.example.x", {"org.example.x": "y" * 65_536}, "400 M_PROFILE_TOO_LARGE"),
    ],
)
async def test_what_is_too_large(ward: Ward, request_line: str, body: Any, expected: str) -> None:
    await ward.refuses_and_keeps("alice", request_line, body, expected)


@pytest.mark.parametrize(
    ("request_line", "expected"),
    [
        ("GET nothing", "404 M_UNRECOGNIZED"),
        ("GET /", "404 M_UNRECOGNIZED"),
        ("GET /_matrix/client/v9/sync", "404 M_UNRECOGNIZED"),
        ("GET /_matrix/client/r0/sync", "404 M_UNRECOGNIZED"),
        ("GET /_matrix/client/unstable/org.example/sync", "404 M_UNRECOGNIZED"),
        ("POST rooms/{room}", "404 M_UNRECOGNIZED"),
        ("PUT rooms/{room}/send/m.room.message", "404 M_UNRECOGNIZED"),
        ("PUT rooms//send/m.room.message/1", "404 M_UNRECOGNIZED"),
        ("PATCH rooms/{room}/send/m.room.message/1", "405 M_UNRECOGNIZED"),
        ("POST rooms/{room}/send/m.room.message/1", "405 M_UNRECOGNIZED"),
        ("DELETE rooms/{room}/state/m.room.name", "405 M_UNRECOGNIZED"),
        ("GET createRoom", "405 M_UNRECOGNIZED"),
        ("PUT sync", "405 M_UNRECOGNIZED"),
        ("PUT rooms/%00/send/m.room.message/1", "400 M_INVALID_PARAM"),
        ("PUT rooms/{room}/send/m.room%00.message/1", "400 M_INVALID_PARAM"),
        ("PUT rooms/{room}/send/%ED%A0%80/1", "400 M_INVALID_PARAM"),
        ("PUT rooms/{room}/send/%FF/1", "400 M_INVALID_PARAM"),
        ("GET sync?since=%00", "400 M_INVALID_PARAM"),
        ("GET sync?since=%FF", "400 M_INVALID_PARAM"),
        ("GET sync?" + "a=b&" * 1_000, "400 M_INVALID_PARAM"),
    ],
)
async def test_paths_methods_and_queries(ward: Ward, request_line: str, expected: str) -> None:
    await ward.refuses_and_keeps("alice", request_line, TEXT if request_line[:3] != "GET" else None, expected)


def head(ward: Ward, *lines: str) -> bytes:
    """The head of a message from Alice, whose length or encoding the lines tell."""
    target = f"{CLIENT}/rooms/{quote(ward.names['room'])}/send/m.room.message/1"
    token = ward.people["alice"].token
    return "\r\n".join([f"PUT {target} HTTP/1.1", "Host: a", f"Authorization: Bearer {token}", *lines, "", ""]).encode()


MESSAGE = json.dumps(TEXT).encode()
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(MESSAGE), MESSAGE)
FRAMES = {
    "too large, announced": (["Content-Length: 10000000"], b"", "413 M_TOO_LARGE"),
    "too large beyond all integers": (["Content-Length: " + "9" * 40], b"", "400 M_UNKNOWN"),
    "too large, streamed": (
        ["Transfer-Encoding: chunked"],
        (b"10000\r\n" + b" " * 65_536 + b"\r\n") * 40,
        "413 M_TOO_LARGE",
    ),
    "length that is no number": (["Content-Length: x"], MESSAGE, "400 M_UNKNOWN"),
    "negative length": (["Content-Length: -1"], MESSAGE, "400 M_UNKNOWN"),
    "length with a sign": ([f"Content-Length: +{len(MESSAGE)}"], MESSAGE, "400 M_UNKNOWN"),
    "two lengths": ([f"Content-Length: {len(MESSAGE)}", "Content-Length: 2"], MESSAGE, "400 M_UNKNOWN"),
    "length and chunks": ([f"Content-Length: {len(MESSAGE)}", "Transfer-Encoding: chunked"], CHUNKED, "400 M_UNKNOWN"),
    "unknown encoding": (["Transfer-Encoding: nonsense"], CHUNKED, "400 M_UNKNOWN"),
    "chunked twice": (["Transfer-Encoding: chunked, chunked"], CHUNKED, "400 M_UNKNOWN"),
    "bad chunk size": (["Transfer-Encoding: chunked"], b"zz\r\n" + MESSAGE + b"\r\n0\r\n\r\n", "400 M_UNKNOWN"),
    "chunk longer than said": (["Transfer-Encoding: chunked"], b"2\r\n" + MESSAGE + b"\r\n0\r\n\r\n", "400 M_UNKNOWN"),
    "two hosts": ([f"Content-Length: {len(MESSAGE)}", "Host: b"], MESSAGE, "400 M_UNKNOWN"),
    "header with a NUL": ([f"Content-Length: {len(MESSAGE)}", "X: a\0b"], MESSAGE, "400 M_UNKNOWN"),
    "folded header": ([f"Content-Length: {len(MESSAGE)}", "X: a", " b"], MESSAGE, "400 M_UNKNOWN"),
    "header of 20,000 bytes": ([f"Content-Length: {len(MESSAGE)}", "X: " + "a" * 20_000], MESSAGE, "431 M_TOO_LARGE"),
}


@pytest.mark.parametrize("kind", FRAMES)
async def test_bodies_that_are_framed_badly(ward: Ward, kind: str) -> None:
    lines, body, expected = FRAMES[kind]
    async with ward.tables.unchanged():
        answer = await exchange(ward, head(ward, *lines) + body)
    status, errcode = expected.split()
    assert answer.split(b" ")[1] == status.encode()
    assert f'"errcode":"{errcode}"'.encode() in answer


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (["Content-Length: 100"], MESSAGE),
        (["Transfer-Encoding: chunked"], CHUNKED[:-5]),
        (["Transfer-Encoding: chunked"], CHUNKED[:10]),
    ],
)
async def test_a_body_of_which_the_end_never_comes(ward: Ward, lines: list[str], body: bytes) -> None:
    async with ward.tables.unchanged():
        assert b" 200 " not in await exchange(ward, head(ward, *lines) + body, hang_up=True)


async def exchange(ward: Ward, data: bytes, *, hang_up: bool = False) -> bytes:
    """Send bytes, and read what comes back until the server pauses or closes."""
    url = ward.hospital.session._base_url
    assert url is not None and url.host is not None
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(data)
    if hang_up:
        writer.write_eof()
    try:
        return await asyncio.wait_for(reader.read(65_536), 5)
    finally:
        writer.close()
