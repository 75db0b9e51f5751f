"""What the bodies of requests take is bounded, and given back."""

import sys
from typing import Any

import orjson
import pytest

from tests.eventually import eventually
from tests.web.toy_routes import ROUTES, V3
from tim_server.matrix.canonical_json import decode_lenient as decode
from tim_server.matrix.errors import LimitExceeded, TooLarge
from tim_server.web.body_memory import FREE_BYTES, MUCH_BYTES, BodyMemory, decoded_bytes

MIB = 2**20


def test_an_address_gets_half_and_all_get_the_whole() -> None:
    memory = BodyMemory(bytes_max=4 * MIB)
    shares = [memory.share(address) for address in ("a", "a", "b", "c")]
    shares[0].take(MIB + FREE_BYTES)
    with pytest.raises(LimitExceeded):
        shares[1].take(MIB + FREE_BYTES + 1)
    shares[2].take(2 * MIB)
    with pytest.raises(LimitExceeded):
        shares[3].take(2 * MIB)
    shares[0].give_back()
    shares[3].take(1)
    shares[1].take(1)


def test_what_is_small_is_not_counted() -> None:
    memory = BodyMemory(bytes_max=2 * MIB)
    memory.share("a").take(MIB)
    memory.share("b").take(MIB)
    memory.share("a").take(FREE_BYTES)
    for _ in range(1_000):
        memory.share("c").take(FREE_BYTES)


def test_what_nobody_may_have_is_too_large_at_once() -> None:
    share = BodyMemory(bytes_max=2 * MIB).share("a")
    with pytest.raises(TooLarge):
        share.take(MIB + FREE_BYTES + 1)


def test_json_of_tiny_objects_is_counted_as_what_it_becomes() -> None:
    memory = BodyMemory(bytes_max=2 * MIB)
    share = memory.share("a")
    share.take_json(b"[" * 11_500)
    with pytest.raises(LimitExceeded):
        memory.share("a").take(3 * FREE_BYTES)
    with pytest.raises(TooLarge):
        memory.share("b").take_json(b'{"a":0},' * 20_000)


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


async def test_who_sends_much_and_slowly_holds_up_nobody_else(serve: Any) -> None:
    server = await serve(*ROUTES, bodies_bytes_max=MIB)
    path = f"{V3}/rooms/!room:example.org/send/m.room.message/1"
    head = f"PUT {path} HTTP/1.1\r\nHost: example.org\r\nAuthorization: Bearer alice-token\r\n".encode()
    _, slow = await server.connect()
    slow.write(head + b"Content-Length: 1000000\r\n\r\n" + b" " * 500_000)
    await slow.drain()

    async def send_much() -> int:
        return int((await server.request("PUT", path, data=b'{"a":"' + b"x" * 200_000 + b'"}')).status)

    await eventually(send_much, lambda status: status == 429)  # once the slow one has been read so far
    assert (await server.request("PUT", path, json={"body": "small"})).status == 200
    slow.close()
    await eventually(send_much, lambda status: status == 200)
