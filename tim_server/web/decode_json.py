"""Decode a JSON body strictly.

Refused: what is not JSON (`M_NOT_JSON`); JSON that is not an object, is nested too deeply, or holds NUL or lone
surrogates, which neither PostgreSQL nor canonical JSON can hold (`M_BAD_JSON`). Fractions and large integers pass:
event content is checked later, by the rules of its room version.

Spec: https://spec.matrix.org/v1.19/client-server-api/#api-standards
"""

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from tim_server.matrix.canonical_json import CanonicalJsonError, encode_decoded, is_deeper_than, read_float
from tim_server.matrix.errors import BadJson, NotJson

JSON_DEPTH_MAX = 200

_decoder = msgspec.json.Decoder(float_hook=read_float)
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def decode_object(data: bytes, *, depth_max: int | None = JSON_DEPTH_MAX, nul_ok: bool = False) -> dict[str, Any]:
    """The JSON object in `data`; raises NotJson or BadJson. `nul_ok`, and None as `depth_max`: NUL, or how deep it is
    nested, is for the rules of what is within to judge, as in events of other servers."""
    value = _decode(_decoder, data)
    if not nul_ok and b"\\u0000" in data and _ESCAPED_NUL.search(data):
        raise BadJson("The JSON holds a NUL character")
    opened = data.count(b"{") + data.count(b"[")
    if depth_max is not None and opened > depth_max and is_deeper_than(value, depth_max):
        raise BadJson("The JSON is nested too deeply")
    return value


def decode_signed(data: bytes, *, depth_max: int | None = JSON_DEPTH_MAX) -> tuple[dict[str, Any], bytes]:
    """The JSON object in `data` that another server has sent, and those bytes of it that are signed, its canonical form
    without the rules on numbers; raises as `decode_object` does, also where it has none."""
    floats = _Floats()
    value = _decode(msgspec.json.Decoder(float_hook=floats.read), data)
    if depth_max is not None and is_deeper_than(value, depth_max):
        raise BadJson("The JSON is nested too deeply")
    try:
        return value, encode_decoded(value, has_floats=floats.found)
    except CanonicalJsonError:
        raise BadJson("The JSON has no canonical form") from None


@dataclass(slots=True)
class _Floats:
    found: bool = False

    def read(self, digits: str) -> float:
        self.found = True
        return read_float(digits)


def _decode(decoder: "msgspec.json.Decoder[Any]", data: bytes) -> dict[str, Any]:
    try:
        value = decoder.decode(data)
    except RecursionError:
        raise BadJson("The JSON is nested too deeply") from None
    except msgspec.ValidationError:
        raise BadJson("The JSON holds a number that is out of range") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        if _ESCAPED_SURROGATE.search(data) and _is_json_for_others(data):
            raise BadJson("The JSON holds a lone surrogate") from None
        raise NotJson() from None
    if not isinstance(value, dict):
        raise BadJson("The body must be a JSON object")
    return value


def _is_json_for_others(data: bytes) -> bool:
    """Whether all that is wrong with `data` is a lone surrogate: with another character in its place it is JSON."""
    try:
        _decoder.decode(_ESCAPED_SURROGATE.sub(b"x", data))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return False
    return True
