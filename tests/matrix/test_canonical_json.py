"""Canonical JSON: the specification's examples, the canonicaljson library as oracle, and what is refused.

Spec: https://spec.matrix.org/v1.19/appendices/#canonical-json
"""

import json
import math
import time
import tracemalloc

import canonicaljson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tim_server.matrix.canonical_json import (
    INTEGER_MAX,
    CanonicalJsonError,
    check_numbers,
    decode,
    decode_lenient,
    encode,
    encode_checked,
    encode_relaxed,
)
from tim_server.matrix.identifiers import UserId

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
INTEGERS = st.integers(-INTEGER_MAX, INTEGER_MAX)


def json_values(*scalars):
    """Any JSON value with these scalars, besides null, booleans and text."""
    leaves = st.one_of(st.none(), st.booleans(), TEXT, *scalars)
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=30)


def nested(depth):
    """A list in a list in a list."""
    value = []
    for _ in range(depth - 1):
        value = [value]
    return value


# The examples of the specification, in its order; the last one without `1e10`, see below.
EXAMPLES = [
    ("{}", "{}"),
    ('{"one": 1, "two": "Two"}', '{"one":1,"two":"Two"}'),
    ('{"b": "2", "a": "1"}', '{"a":"1","b":"2"}'),
    ('{"b":"2","a":"1"}', '{"a":"1","b":"2"}'),
    (
        """{"auth": {"success": true, "mxid": "@john.doe:example.com", "profile": {"display_name": "John Doe",
        "three_pids": [{"medium": "email", "address": "john.doe@example.org"},
        {"medium": "msisdn", "address": "123456789"}]}}}""",
        '{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":'
        '[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},'
        '"success":true}}',
    ),
    ('{"a": "日本語"}', '{"a":"日本語"}'),
    ('{"本": 2, "日": 1}', '{"日":1,"本":2}'),
    (r'{"a": "\u65E5"}', '{"a":"日"}'),
    ('{"a": null}', '{"a":null}'),
    ('{"a": -0, "b": 10000000000}', '{"a":0,"b":10000000000}'),
]


@pytest.mark.parametrize(("given_json", "canonical"), EXAMPLES)
def test_the_examples_of_the_specification(given_json, canonical):
    assert encode(decode(given_json.encode())) == canonical.encode()
    assert encode_relaxed(decode_lenient(given_json.encode())) == canonical.encode()


def test_a_number_with_an_exponent_is_refused_as_rooms_enforce_the_format_strictly():
    with pytest.raises(CanonicalJsonError, match="floating point"):
        decode(b'{"b": 1e10}')


@given(json_values(INTEGERS))
def test_the_bytes_are_those_of_canonicaljson(value):
    expected = canonicaljson.encode_canonical_json(value)
    assert encode(value) == encode_checked(value) == encode_relaxed(value) == expected


@given(json_values(st.integers(), st.floats(allow_nan=False, allow_infinity=False)))
def test_the_relaxed_bytes_are_those_of_canonicaljson_for_any_number(value):
    assert encode_relaxed(value) == canonicaljson.encode_canonical_json(value)


@given(json_values(INTEGERS))
def test_what_is_encoded_is_read_back(value):
    assert decode(encode(value)) == value
    assert decode_lenient(encode(value)) == value


@given(json_values(st.integers(), st.floats(allow_nan=False, allow_infinity=False)))
def test_the_lenient_decoder_reads_all_that_python_reads(value):
    data = json.dumps(value).encode()
    assert decode_lenient(data) == json.loads(data)


@given(st.dictionaries(TEXT, INTEGERS))
def test_keys_are_sorted_by_code_point(value):
    assert list(decode(encode(value))) == sorted(value)


def test_characters_beyond_the_basic_plane_sort_after_all_others():
    assert encode({"\U0001f600": 1, "\uffff": 2}) == '{"\uffff":2,"\U0001f600":1}'.encode()


def test_control_characters_take_their_shortest_escape():
    assert encode('\b\t\n\f\r"\\\x00\x1f\x7f/') == b'"\\b\\t\\n\\f\\r\\"\\\\\\u0000\\u001f\x7f/"'


def test_identifiers_serve_as_keys_and_values():
    alice = UserId("@alice:hospital.example")
    value = {"users": {alice: 100}, "list": [{alice: alice}]}
    expected = (
        b'{"list":[{"@alice:hospital.example":"@alice:hospital.example"}],"users":{"@alice:hospital.example":100}}'
    )
    assert encode(value) == encode_checked(value) == encode_relaxed(value) == expected


@pytest.mark.parametrize("value", [1.5, 1.0, math.nan, math.inf, [0.5], {"a": {"b": [1, 2.0]}}, ("a", 1.0)])
def test_floats_have_no_canonical_form(value):
    with pytest.raises(CanonicalJsonError, match="floating point"):
        encode(value)
    with pytest.raises(CanonicalJsonError, match="floating point"):
        check_numbers(value)


@pytest.mark.parametrize("value", [INTEGER_MAX + 1, -INTEGER_MAX - 1, 2**64, {"a": [10**30]}])
def test_large_integers_have_no_canonical_form(value):
    with pytest.raises(CanonicalJsonError):
        encode(value)
    assert decode_lenient(encode_relaxed(value)) == value


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, ["a\ud83d"]])
def test_lone_surrogates_have_no_canonical_form(value):
    for encoder in (encode, encode_checked, encode_relaxed):
        with pytest.raises(CanonicalJsonError):
            encoder(value)


@pytest.mark.parametrize("value", [{1: 2}, {None: 1}, object(), {"a": {1, 2}}, b"bytes"])
def test_what_is_no_json_has_no_canonical_form(value):
    with pytest.raises(CanonicalJsonError):
        encode(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, object()])
def test_what_is_no_number_has_no_relaxed_form(value):
    with pytest.raises(CanonicalJsonError):
        encode_relaxed(value)


def test_deep_nesting_is_refused():
    assert decode(encode(nested(200))) == nested(200)
    for depth in (300, 100_000):
        for function in (encode, encode_checked):
            with pytest.raises(CanonicalJsonError):
                function(nested(depth))
        with pytest.raises(CanonicalJsonError):
            decode(b"[" * depth + b"]" * depth)
    for function in (encode_relaxed, check_numbers):
        with pytest.raises(CanonicalJsonError):
            function(nested(100_000))
    with pytest.raises(CanonicalJsonError, match="nested too deeply"):
        decode_lenient(b"[" * 100_000 + b"]" * 100_000)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"nul", b"NaN", b"Infinity", b"-", b"01", b"{'a':1}", b'"\xff"', b'"\\ud800"', b"{}{}", b'{"a":}'],
)
def test_what_is_not_json_is_refused(data):
    for decoder in (decode, decode_lenient):
        with pytest.raises(CanonicalJsonError, match="not JSON"):
            decoder(data)


def test_the_lenient_decoder_takes_no_time_over_the_largest_floats():
    data = b"[" + b",".join([b"1e308"] * 200_000) + b"]"
    started = time.perf_counter()
    assert decode_lenient(data)[0] == 1e308
    assert time.perf_counter() - started < 0.7
    with pytest.raises(CanonicalJsonError):
        decode_lenient(b"1e309")


@pytest.mark.parametrize("data", [b"1.0", b"1e3", b'[1,2,{"a":-0.5}]', b"1E400"])
def test_floats_are_refused_by_the_strict_decoder(data):
    with pytest.raises(CanonicalJsonError, match="floating point"):
        decode(data)


@pytest.mark.parametrize("data", [b"9007199254740992", b'{"a":[-9007199254740992]}', b"9" * 40])
def test_large_integers_are_refused_by_the_strict_decoder(data):
    with pytest.raises(CanonicalJsonError):
        decode(data)
    assert decode_lenient(data) == json.loads(data)


def test_the_largest_integers_are_allowed():
    data = b"[9007199254740991,-9007199254740991]"
    assert encode(decode(data)) == data


@pytest.mark.parametrize("size", [700, 20_000])
def test_what_is_kept_takes_no_more_than_it_is_long(size):
    tracemalloc.start()
    try:
        kept = [encode({"body": "x" * size}) for _ in range(100)]
        assert tracemalloc.get_traced_memory()[0] < 1.2 * sum(map(len, kept))
    finally:
        tracemalloc.stop()
