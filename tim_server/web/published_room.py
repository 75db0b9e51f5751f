"""What lists and summaries tell of rooms, to clients and to other servers: `public_rooms_chunk.yaml`,
`public_rooms_response.yaml` and `room_summary.yaml` of `definitions/`."""

from typing import Any

from tim_server.services.directory.public_rooms import PublicRoomsPage
from tim_server.services.directory.room_summary import RoomSummary
from tim_server.web.request_model import RequestModel
from tim_server.web.response_model import UNSET, RawJson, ResponseModel, UnsetType


class PublishedRoom(ResponseModel, kw_only=True):
    """A room as the public directory lists it. What the room does not set is left out."""

    room_id: str
    num_joined_members: int
    world_readable: bool
    guest_can_join: bool
    join_rule: str
    name: str | UnsetType = UNSET
    topic: str | UnsetType = UNSET
    avatar_url: str | UnsetType = UNSET
    canonical_alias: str | UnsetType = UNSET
    room_type: str | UnsetType = UNSET


class SummarisedRoom(PublishedRoom, kw_only=True):
    """A room as summaries tell of it."""

    room_version: str | UnsetType = UNSET
    encryption: str | UnsetType = UNSET
    allowed_room_ids: list[str] | UnsetType = UNSET


class HierarchyRoom(SummarisedRoom, kw_only=True):
    """A room of a tree of spaces, and the events by which it holds others."""

    children_state: list[RawJson]


def published_fields(summary: RoomSummary) -> dict[str, Any]:
    """The fields of a `PublishedRoom`."""
    return {
        "room_id": summary.room_id,
        "num_joined_members": summary.joined,
        "world_readable": summary.access.world_readable,
        "guest_can_join": summary.guest_can_join,
        "join_rule": summary.access.join_rule,
        "name": summary.name or UNSET,
        "topic": summary.topic or UNSET,
        "avatar_url": summary.avatar_url or UNSET,
        "canonical_alias": summary.canonical_alias or UNSET,
        "room_type": summary.access.room_type or UNSET,
    }


def summarised_fields(summary: RoomSummary) -> dict[str, Any]:
    """The fields of a `SummarisedRoom`."""
    return published_fields(summary) | {
        "room_version": summary.room_version or UNSET,
        "encryption": summary.encryption or UNSET,
        "allowed_room_ids": [*summary.access.allowed_room_ids] or UNSET,
    }


class PublicRoomsFilter(RequestModel):
    """Which rooms of a directory."""

    generic_search_term: str | None = None
    room_types: tuple[str | None, ...] | None = None


class PublicRoomsResponse(ResponseModel):
    """A page of the directory."""

    chunk: list[PublishedRoom]
    total_room_count_estimate: int
    next_batch: str | UnsetType = UNSET
    prev_batch: str | UnsetType = UNSET


def public_rooms_response(page: PublicRoomsPage) -> PublicRoomsResponse:
    """The response for a page."""
    return PublicRoomsResponse(
        chunk=[PublishedRoom(**published_fields(summary)) for summary in page.rooms],
        total_room_count_estimate=page.total,
        next_batch=page.next_batch or UNSET,
        prev_batch=page.prev_batch or UNSET,
    )
