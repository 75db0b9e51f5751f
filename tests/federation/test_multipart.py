"""Answers in parts, however they are cut into chunks."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tim_server.federation.arriving_object import MalformedAnswer
from tim_server.federation.multipart import HEADERS_BYTES_MAX, ArrivingParts, boundary_of

BOUNDARY = b"bnd"


async def in_chunks(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def parts_of(body: bytes, size: int = 7) -> list[tuple[dict[str, str], bytes]]:
    return [
        (dict(part.headers), b"".join([chunk async for chunk in part.chunks]))
        async for part in ArrivingParts(in_chunks(body, size), BOUNDARY)
    ]


def joined(*contents: bytes) -> bytes:
    return b"".join(b"--bnd\r\nA: b\r\n\r\n" + content + b"\r\n" for content in contents) + b"--bnd--"


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=4), st.integers(1, 40))
async def test_parts_are_what_they_were(contents: list[bytes], size: int) -> None:
    contents = [content.replace(b"--bnd", b"") for content in contents]
    assert await parts_of(joined(*contents), size) == [({"a": "b"}, content) for content in contents]


@pytest.mark.parametrize("size", range(1, 30))
async def test_what_looks_like_the_boundary_is_content(size: int) -> None:
    content = b"\r\n--bn\r\n-\r\n--bnx\r\n\r\r\n--b"
    assert await parts_of(joined(content), size) == [({"a": "b"}, content)]


async def test_what_comes_before_and_after_is_no_part() -> None:
    assert await parts_of(b"preamble\r\n" + joined(b"x") + b"\r\nepilogue") == [({"a": "b"}, b"x")]


async def test_parts_may_be_empty_and_without_headers() -> None:
    body = b"--bnd\r\n\r\n--bnd\r\nLocation: x\r\n\r\n\r\n--bnd  \r\n\r\nx\r\n--bnd--"
    assert await parts_of(body) == [({}, b""), ({"location": "x"}, b""), ({}, b"x")]


async def test_what_is_not_read_of_a_part_is_passed_over() -> None:
    parts = ArrivingParts(in_chunks(joined(b"x" * 1000, b"y"), 10), BOUNDARY)
    assert [dict(part.headers) async for part in parts] == [{"a": "b"}, {"a": "b"}]


@pytest.mark.parametrize("end", range(1, len(joined(b"one", b"two"))))
async def test_what_is_cut_off_is_found_out(end: int) -> None:
    with pytest.raises(MalformedAnswer):
        await parts_of(joined(b"one", b"two")[:end])


async def test_headers_have_a_limit() -> None:
    for headers in (b"A: " + b"x" * 2 * HEADERS_BYTES_MAX, b"A: b\r\n" * HEADERS_BYTES_MAX):
        with pytest.raises(MalformedAnswer):
            await parts_of(b"--bnd\r\n" + headers + b"\r\n\r\nx\r\n--bnd--", 100)


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/mixed; boundary=bnd",
        'multipart/mixed; boundary="bnd"',
        "multipart/mixed;boundary=bnd; charset=utf-8",
        "Multipart/Mixed; charset=utf-8; Boundary=bnd",
    ],
)
def test_a_boundary_is_found(content_type: str) -> None:
    assert boundary_of(content_type) == BOUNDARY


@pytest.mark.parametrize(
    "content_type",
    ["", "image/png", "multipart/mixed", "multipart/mixed; boundary=", "multipart/mixed; boundary=ä", "boundary=bnd"],
)
def test_what_is_not_in_parts_is_found_out(content_type: str) -> None:
    with pytest.raises(MalformedAnswer):
        boundary_of(content_type)
