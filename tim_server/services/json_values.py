"""JSON that clients store and get back unchanged: profile fields, account data, filters."""

from typing import Any

import orjson

from tim_server.matrix.errors import BadJson


def encode_json(value: Any) -> bytes:
    """The JSON of a value that came from a request, keys in the order given. Raises `BadJson` for what can't be kept:
    integers beyond 64 bits, nesting deeper than 254, lone surrogates."""
    try:
        return orjson.dumps(value)
    except TypeError:
        raise BadJson("The JSON holds a number or a nesting that can't be stored") from None
