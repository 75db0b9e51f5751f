"""One-time keys and fallback keys: names and values.

Spec: https://spec.matrix.org/v1.19/client-server-api/#one-time-and-fallback-keys
"""

import pytest

from tim_server.matrix.end_to_end.one_time_keys import read_fallback_keys, read_one_time_keys
from tim_server.matrix.errors import InvalidParam


def test_a_name_is_an_algorithm_and_an_id() -> None:
    (key,) = read_one_time_keys({"signed_curve25519:A:B": {"signatures": {}, "key": "x"}})
    assert (key.algorithm, key.key_id, key.value) == ("signed_curve25519", "A:B", b'{"key":"x","signatures":{}}')


def test_the_same_value_has_the_same_hash_however_it_was_written() -> None:
    (one,) = read_one_time_keys({"a:b": {"x": 1, "y": 2}})
    (other,) = read_one_time_keys({"a:b": {"y": 2, "x": 1}})
    (third,) = read_one_time_keys({"a:b": {"y": 2, "x": 2}})
    assert one.key_hash == other.key_hash != third.key_hash


def test_there_is_one_fallback_key_for_each_algorithm() -> None:
    assert len(read_fallback_keys({"a:1": "x", "b:1": "x"})) == 2
    with pytest.raises(InvalidParam):
        read_fallback_keys({"a:1": "x", "a:2": "x"})
