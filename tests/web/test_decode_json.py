"""Bodies that are not strict JSON objects are refused with the spec's error code."""

import json
import time

import pytest

from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.matrix.errors import BadJson, NotJson
from tim_server.web.decode_json import JSON_DEPTH_MAX, decode_object, decode_signed


@pytest.mark.parametrize(
    "value",
    [{}, {"a": [1, 2.5, None, True, "ä😀"]}, {"big": 10**18, "f": 1e300}, {"\\u0000": "\\ud800"}, {"a": "\\\\u0000"}],
)
def test_json_objects_are_decoded(value):
    assert decode_object(json.dumps(value).encode()) == value
    assert decode_object(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    "data",
    [
        b"", b" ", b"{", b'{"a":}', b"{'a':1}", b"nonsense", b'{"a":1}{', b'{"a":NaN}', b'{"a":Infinity}', b'{"a":01}',
        b'{"a":"\x00"}', b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', b"\xef\xbb\xbf{}", b'{"a":"\\x"}', b"a=b&c=d",
        b'{"a":"\\ud800"', b"{,}", b'{"a":1,}',
    ],
)  # fmt: skip
def test_what_is_not_json_is_not_json(data):
    with pytest.raises(NotJson):
        decode_object(data)


@pytest.mark.parametrize(
    "data",
    [
        b"[]", b'"text"', b"1", b"null", b"true", b"[{}]",
        b'{"a":"\\u0000"}', b'{"\\u0000":1}', b'{"a":[{"b":"x\\\\\\u0000"}]}',
        b'{"a":"\\ud800"}', b'{"a":"\\uDFFF"}', b'{"\\udc00":1}', b'{"a":"\\ud83dx"}', b'{"a":"\\ude00\\ud83d"}',
        b'{"a":1e999}',
    ],
)  # fmt: skip
def test_json_that_cannot_be_stored_or_is_no_object_is_bad(data):
    with pytest.raises(BadJson):
        decode_object(data)


def nested(depth, opening=b'{"a":', closing=b"}"):
    return opening * (depth - 1) + b"{}" + closing * (depth - 1)


@pytest.mark.parametrize("depth", [1, 2, JSON_DEPTH_MAX])
def test_nesting_up_to_the_limit_passes(depth):
    assert isinstance(decode_object(nested(depth)), dict)


@pytest.mark.parametrize("depth", [JSON_DEPTH_MAX + 1, 10_000, 1_000_000])
def test_nesting_beyond_the_limit_is_bad_and_does_not_crash(depth):
    with pytest.raises(BadJson):
        decode_object(nested(depth))
    with pytest.raises(BadJson):
        decode_object(b'{"a":' + nested(depth, b"[", b"]") + b"}")


def test_braces_in_text_are_no_nesting():
    assert decode_object(b'{"a":"' + b"[{" * 1000 + b'"}')["a"].startswith("[{")


@pytest.mark.parametrize("number", [b"1e308", b"1.7976931348623157e308", b"4.9406564584124654e-324", b"9" * 4000])
def test_a_body_of_unusual_numbers_is_decoded_in_reasonable_time(number):
    data = b'{"a":[' + b",".join([number] * (1_000_000 // len(number))) + b"]}"
    started = time.perf_counter()
    decode_object(data)
    assert time.perf_counter() - started < 0.7


def test_a_wide_body_is_decoded_in_reasonable_time():
    data = json.dumps({"a": [{"k": [n]} for n in range(50_000)]}).encode()
    started = time.perf_counter()
    decode_object(data)
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    "data",
    [
        b"{}", b'{"b": [1, "x"], "a": null}', b'{"b":1.50,"a":-0.0}', b'{"a":100000000000000000000}',
        b'{"a":9007199254740993}', b'{"a":[1e-7,{"c":1,"b":2}]}', b'{"\\u00fc":"\\u0000"}', '{"ü":"😀"}'.encode(),
    ],
)  # fmt: skip
def test_what_a_server_has_signed_is_the_canonical_form(data):
    value, content = decode_signed(data)
    assert value == decode_object(data, nul_ok=True)
    assert content == encode_relaxed(value)


@pytest.mark.parametrize("data", [b'{"a":1e999}', b'{"a":"\\ud800"}', nested(JSON_DEPTH_MAX + 1), b"[]"])
def test_what_no_server_can_have_signed_is_bad(data):
    with pytest.raises(BadJson):
        decode_signed(data)
    with pytest.raises(BadJson):
        decode_signed(nested(100_000), depth_max=None)
