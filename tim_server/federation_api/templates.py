"""What is answered to those who ask for the template of a member event: joins, leaves, knocks."""

from typing import Any

from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.matrix.room_versions import RoomVersion
from tim_server.web.response_model import RawJson, ResponseModel


class TemplateResponse(ResponseModel):
    """The version of the room, and an unsigned event."""

    room_version: str
    event: RawJson


def template_response(version: RoomVersion, event: dict[str, Any]) -> TemplateResponse:
    """The response; the event keeps numbers of older room versions as they are."""
    return TemplateResponse(room_version=version.identifier, event=RawJson(encode_relaxed(event)))
