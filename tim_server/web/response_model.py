"""Responses: `msgspec.Struct` records that leave out what is not set, and stored JSON that is spliced as it is.

    class SendMessageResponse(ResponseModel):
        event_id: EventId

    class GetEventsResponse(ResponseModel):
        start: str
        chunk: list[RawJson]          # stored bytes, spliced without being parsed
        end: str | UnsetType = UNSET  # left out of the JSON unless set

A field whose value equals its default is left out. So give a default only to what the specification lets a server
leave out; a list that must be there even when empty has no default.
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

__all__ = [
    "UNSET",
    "Binary",
    "EmptyResponse",
    "RawJson",
    "Redirect",
    "ResponseModel",
    "StreamedBinary",
    "StreamedJson",
    "UnsetType",
    "WithStatus",
]

RawJson = msgspec.Raw
"""JSON bytes that go into the response unchanged, as the whole body or as any value within one."""


class ResponseModel(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Base of all response bodies. Fields that equal their default do not appear in the JSON."""


class EmptyResponse(ResponseModel):
    """The body `{}`."""


@dataclass(frozen=True, slots=True)
class WithStatus:
    """A response with a status other than 200, or with further headers."""

    status: int
    response: Any
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamedJson:
    """JSON that is too large to be held as a whole: its bytes piece by piece, made as fast as they are taken. What can
    be refused must have been refused before: an error in between cuts the connection."""

    pieces: AsyncGenerator[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamedBinary:
    """A body that is not JSON and too large to be held as a whole, like `StreamedJson`; `length_bytes` is announced."""

    pieces: AsyncGenerator[bytes]
    content_type: str
    length_bytes: int
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """A body that is not JSON: a page, a thumbnail, metrics."""

    body: bytes
    content_type: str
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """302 Found to `location`."""

    location: str
