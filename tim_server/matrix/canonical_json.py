"""Canonical JSON: the one byte form of a value that is hashed and signed.

Encoded by orjson with sorted keys. Its order is that of UTF-8 bytes, which is the order of code points that the
specification asks for. Room versions 1–5 did not enforce the rules on numbers; they take the relaxed form.

Spec: https://spec.matrix.org/v1.19/appendices/#canonical-json
"""

import json
from typing import Any, NoReturn

import msgspec
import orjson

INTEGER_MAX = 2**53 - 1

_STRICT = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER


class CanonicalJsonError(ValueError):
    """A value has no canonical form, or bytes are not JSON of the kind asked for."""


def _refuse_float(_digits: str) -> NoReturn:
    raise CanonicalJsonError("floating point numbers are not allowed")


_strict_decoder = msgspec.json.Decoder(float_hook=_refuse_float)
_lenient_decoder = msgspec.json.Decoder()


def encode(value: Any) -> bytes:
    """The canonical bytes of `value`; raises `CanonicalJsonError` for what canonical JSON can't hold: floats, integers
    beyond ±(2^53−1), lone surrogates, and nesting deeper than 254."""
    check_numbers(value)
    return encode_checked(value)


def encode_checked(value: Any) -> bytes:
    """As `encode`, for a value that is known to hold no floats."""
    try:
        return orjson.dumps(value, option=_STRICT)
    except (orjson.JSONEncodeError, RecursionError) as error:
        first = error
    try:  # keys that are identifiers are of subclasses of str, which orjson takes only when told to
        return orjson.dumps(value, option=_STRICT | orjson.OPT_NON_STR_KEYS)
    except (orjson.JSONEncodeError, RecursionError):
        raise CanonicalJsonError(str(first)) from first


def encode_relaxed(value: Any) -> bytes:
    """The canonical bytes without the rules on numbers, as room versions 1–5 sign them."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise CanonicalJsonError(str(error)) from error


def check_numbers(value: Any) -> None:
    """Raises `CanonicalJsonError` where `value` holds a float, which orjson would encode."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list | tuple):
            stack.extend(item)
        elif isinstance(item, float):
            raise CanonicalJsonError("floating point numbers are not allowed")


def decode(data: bytes) -> Any:
    """The value of strict JSON bytes; raises `CanonicalJsonError` also for floats and integers beyond ±(2^53−1)."""
    value = _decode(_strict_decoder, data)
    _check_integers(value)
    return value


def decode_lenient(data: bytes) -> Any:
    """The value of any JSON bytes; raises `CanonicalJsonError` for what is not JSON, or nested too deeply."""
    return _decode(_lenient_decoder, data)


def _decode(decoder: "msgspec.json.Decoder[Any]", data: bytes) -> Any:
    try:
        return decoder.decode(data)
    except CanonicalJsonError:
        raise
    except RecursionError as error:
        raise CanonicalJsonError("nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise CanonicalJsonError("not JSON") from error


def _check_integers(value: Any) -> None:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, int) and not -INTEGER_MAX <= item <= INTEGER_MAX:
            raise CanonicalJsonError("integers beyond 2^53−1 are not allowed")
