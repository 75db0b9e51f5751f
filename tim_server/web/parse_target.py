"""The request target: percent-decoded path segments and query values.

A `%2F` inside a segment stays in that segment. What is not UTF-8, or holds NUL, is refused: neither can be stored.

Spec: https://spec.matrix.org/v1.19/appendices/#opaque-identifiers and RFC 3986
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from urllib.parse import parse_qs, unquote

from tim_server.matrix.errors import InvalidParam

QUERY_FIELDS_MAX = 200

_REMEMBERED_LENGTH_MAX = 400  # of an encoded segment: what is longer is no id, and must not fill the memory


def split_target(target: str) -> tuple[str, str]:
    """Path and query of an origin-form or absolute-form request target, both still encoded."""
    path, _, query = target.partition("?")
    if not path.startswith("/"):
        _scheme, separator, rest = path.partition("://")
        path = "/" + rest.partition("/")[2] if separator else "/"
    return path, query


def path_segments(path: str) -> list[str]:
    """The decoded segments of `path`; raises InvalidParam."""
    segments = path[1:].split("/")
    if "%" not in path and path.isascii():
        return segments
    return [segment if "%" not in segment and segment.isascii() else _decoded(segment) for segment in segments]


def _decoded(segment: str) -> str:
    return _remembered(segment) if len(segment) <= _REMEMBERED_LENGTH_MAX else _decode(segment)


def _decode(segment: str) -> str:
    try:
        decoded = unquote(segment, errors="strict")
        decoded.encode()
    except UnicodeError:
        raise InvalidParam("The path is not UTF-8") from None
    if "\0" in decoded:
        raise InvalidParam("The path holds a NUL character")
    return decoded


_remembered = lru_cache(maxsize=8192)(_decode)  # room and user ids come again and again


def query_values(query: str) -> Mapping[str, Sequence[str]]:
    """All values by name, decoded; raises InvalidParam."""
    if not query:
        return {}
    try:
        values = parse_qs(query, keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_MAX)
        if not query.isascii():
            query.encode()
    except UnicodeError:
        raise InvalidParam("The query is not UTF-8") from None
    except ValueError:
        raise InvalidParam("The query has too many fields") from None
    if "%00" in query:
        raise InvalidParam("The query holds a NUL character")
    return values
