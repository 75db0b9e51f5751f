"""JSON objects that are written piece by piece, their parts spliced from stored bytes."""

from collections.abc import AsyncIterator, Mapping, Sequence

import orjson


async def object_of_arrays(members: Mapping[str, AsyncIterator[Sequence[bytes]]]) -> AsyncIterator[bytes]:
    """An object whose members are arrays; the JSON of their items comes some at a time."""
    before = b"{"
    for name, batches in members.items():
        yield before + orjson.dumps(name) + b":["
        is_first = True
        async for items in batches:
            if items:
                yield (b"" if is_first else b",") + b",".join(items)
                is_first = False
        before = b"],"
    yield b"]}" if members else b"{}"
