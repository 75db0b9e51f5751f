"""What JSON takes once it is decoded is told well enough before."""

import sys
from time import thread_time
from typing import Any

import orjson
import pytest

from tim_server.matrix.canonical_json import decode_lenient as decode
from tim_server.matrix.decoded_size import MUCH_BYTES, decoded_bytes

DENSE: dict[str, bytes] = {
    "arrays": b"[],",
    "arrays in arrays": b"[[[[[[[[]]]]]]]],",
    "objects": b"{},",
    "objects that hold something": b'{"a":0},',
    "texts": b'"ab",',
    "numbers": b"257,",
    "fractions": b"1.5,",
}


def real_bytes(value: Any) -> int:
    """What a decoded value takes; what is shared, as small numbers are, counts once."""
    seen, level = dict[int, int](), [value]
    while level:
        seen |= {id(each): sys.getsizeof(each) for each in level}
        level = [
            child
            for each in level
            if isinstance(each, dict | list)
            for child in (each.values() if isinstance(each, dict) else each)
        ]
    return sum(seen.values())


@pytest.mark.parametrize("what", DENSE)
def test_what_json_takes_is_told_before_it_is_decoded(what: str) -> None:
    data = b"[" + DENSE[what] * 10_000 + b"0]"
    assert 1.0 <= decoded_bytes(data) / real_bytes(decode(data)) <= 3.5


def test_of_keys_that_are_all_different_each_counts() -> None:
    data = b"[{" + b",".join(b'"%d":0' % number for number in range(100_000)) + b"}]"
    (decoded,) = decode(data)
    assert decoded_bytes(data) + len(data) >= sys.getsizeof(decoded) + sum(map(sys.getsizeof, decoded))


def test_brackets_and_quotes_that_people_write_count_for_what_they_are() -> None:
    text = orjson.dumps({"body": '[{"},' * MUCH_BYTES})
    assert decoded_bytes(text) < 1_000


def test_a_text_without_an_end_takes_no_longer_to_be_looked_at() -> None:
    data = b'{"a":[' + b"0," * 500_000 + b'"' + b'\\"' * 200_000
    began_s = thread_time()
    assert decoded_bytes(data) > MUCH_BYTES
    assert thread_time() - began_s < 2.0
