"""JSON objects that are written piece by piece, their parts spliced from stored bytes."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing

import orjson


async def object_of_arrays(
    members: Mapping[str, AsyncIterator[Sequence[bytes]]], *, others: Mapping[str, bytes] | None = None
) -> AsyncGenerator[bytes]:
    """An object whose members are arrays; the JSON of their items comes some at a time. Before them come `others`,
    whose JSON is held already."""
    before = b"{"
    for name, value in (others or {}).items():
        yield before + orjson.dumps(name) + b":" + value
        before = b","
    end = b"}" if before == b"," else b"{}"
    for name, batches in members.items():
        yield before + orjson.dumps(name) + b":["
        is_first = True
        async for items in batches:
            if items:
                yield (b"" if is_first else b",") + b",".join(items)
                is_first = False
        before, end = b"],", b"]}"
    yield end


async def pair_with_status(pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """`[200, …]`, the form of answers in the first version of some operations."""
    yield b"[200,"
    async with aclosing(pieces):
        async for piece in pieces:
            yield piece
    yield b"]"
