"""Canonical JSON: the one byte form of a value that is hashed and signed.

Encoded by orjson with sorted keys. Its order is that of UTF-8 bytes, which is the order of code points that the
specification asks for. Room versions 1–5 did not enforce the rules on numbers; they take the relaxed form.

Spec: https://spec.matrix.org/v1.19/appendices/#canonical-json
"""

import json
from math import isinf
from typing import Any, NoReturn

import msgspec
import orjson

INTEGER_MAX = 2**53 - 1
DEPTH_MAX = 254
"""How deep the canonical form of a value may be nested; only the relaxed one may be deeper."""

_STRICT = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
_FLOATS = "floating point numbers are not allowed"
_DEPTH = "nested too deeply"
_SCALARS = frozenset({str, int, bool, type(None)})


class CanonicalJsonError(ValueError):
    """A value has no canonical form, or bytes are not JSON of the kind asked for."""


def _refuse_float(_digits: str) -> NoReturn:
    raise CanonicalJsonError(_FLOATS)


def read_float(digits: str) -> float:
    """A float of JSON, as `float_hook` of decoders: they themselves take seconds over 100,000 of the largest ones,
    which anybody may send. Raises ValueError for one that is out of range."""
    value = float(digits)
    if isinf(value):
        raise ValueError("a number is out of range")
    return value


_strict_decoder = msgspec.json.Decoder(float_hook=_refuse_float)
_lenient_decoder = msgspec.json.Decoder(float_hook=read_float)


def encode(value: Any) -> bytes:
    """The canonical bytes of `value`; raises `CanonicalJsonError` for what canonical JSON can't hold: floats, integers
    beyond ±(2^53−1), lone surrogates, and nesting deeper than 254."""
    data = encode_checked(value)  # first, as it bounds the depth
    _refuse_floats(value)
    return data


def encode_checked(value: Any) -> bytes:
    """As `encode`, for a value that is known to hold no floats."""
    try:
        return _trimmed(orjson.dumps(value, option=_STRICT))
    except (orjson.JSONEncodeError, RecursionError) as error:
        first = error
    try:  # keys that are identifiers are of subclasses of str, which orjson refuses
        return _trimmed(orjson.dumps(_with_plain_keys(value), option=_STRICT))
    except (orjson.JSONEncodeError, RecursionError):
        raise CanonicalJsonError(str(first)) from first


def _trimmed(data: bytes) -> bytes:
    """A copy: what orjson gives has room for eight times each text, as long as it is kept."""
    return b"".join((data, b""))


def _with_plain_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key) if isinstance(key, str) else key: _with_plain_keys(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_plain_keys(item) for item in value]
    return value


def encode_relaxed(value: Any) -> bytes:
    """The canonical bytes without the rules on numbers, as room versions 1–5 sign them; raises
    `CanonicalJsonError` for NaN, infinities, lone surrogates, and what is no JSON."""
    try:
        return encode(value)  # the same bytes, sooner
    except CanonicalJsonError:
        return _encode_any(value)


def encode_decoded(value: Any, *, has_floats: bool) -> bytes:
    """As `encode_relaxed`, for a value that was just decoded, as long as it takes to write it: whether it holds floats
    need not be looked for."""
    try:
        return _encode_any(value) if has_floats else orjson.dumps(value, option=_STRICT)
    except (orjson.JSONEncodeError, RecursionError):
        return _encode_any(value)


def _encode_any(value: Any) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise CanonicalJsonError(str(error)) from error


def check_numbers(value: Any) -> None:
    """Raises `CanonicalJsonError` where `value` holds a float, which orjson would encode, or is nested too deeply."""
    try:
        _refuse_floats(value)
    except RecursionError:
        raise CanonicalJsonError(_DEPTH) from None


def is_deeper_than(value: Any, depth_max: int) -> bool:
    """Whether containers are nested more than `depth_max` deep; one level at a time, so that depth costs no stack."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(depth_max):
        level = [
            child
            for container in level
            for child in (container.values() if isinstance(container, dict) else container)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return bool(level)


def _refuse_floats(value: Any) -> None:
    if isinstance(value, dict):
        value = value.values()
    elif isinstance(value, float):
        raise CanonicalJsonError(_FLOATS)
    elif not isinstance(value, list | tuple):
        return
    for item in value:
        if type(item) not in _SCALARS:
            _refuse_floats(item)


def decode(data: bytes) -> Any:
    """The value of strict JSON bytes; raises `CanonicalJsonError` also for floats, integers beyond ±(2^53−1), and
    nesting deeper than 254."""
    value = _decode(_strict_decoder, data)
    try:
        orjson.dumps(value, option=orjson.OPT_STRICT_INTEGER)  # the quickest check of all integers, and of the depth
    except orjson.JSONEncodeError as error:
        raise CanonicalJsonError(str(error)) from error
    return value


def decode_lenient(data: bytes) -> Any:
    """The value of any JSON bytes; raises `CanonicalJsonError` for what is not JSON, or nested too deeply."""
    return _decode(_lenient_decoder, data)


def _decode(decoder: "msgspec.json.Decoder[Any]", data: bytes) -> Any:
    try:
        return decoder.decode(data)
    except RecursionError as error:
        raise CanonicalJsonError(_DEPTH) from error
    except ValueError as error:
        raise CanonicalJsonError(_FLOATS if isinstance(error.__cause__, CanonicalJsonError) else "not JSON") from error
