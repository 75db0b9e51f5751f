"""What is asked for of a content (RFC 9110). `Range` (section 14): one range of bytes; what asks for several, or in
another unit, is answered with the whole, as the RFC lets servers do. `If-None-Match` (section 13): nothing, where it is
known already."""

import re

_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)


class RangeNotSatisfiable(Exception):
    """The range has no byte of the content."""


def range_of(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """The first and the last byte that are asked for; None for the whole. Raises `RangeNotSatisfiable`."""
    match = None if header is None else _RANGE.fullmatch(header)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        first, last = max(0, size_bytes - int(match[2])), size_bytes - 1
    else:
        first, last = int(match[1]), int(match[2] or size_bytes - 1)
        if match[2] and last < first:
            return None
    if first >= size_bytes:
        raise RangeNotSatisfiable
    return first, min(last, size_bytes - 1)


def names_tag(header: str | None, tag: str) -> bool:
    """Whether a header such as `If-None-Match` names this entity tag, or any."""
    if header is None:
        return False
    return header.strip() == "*" or tag in {each.strip().removeprefix("W/") for each in header.split(",")}
