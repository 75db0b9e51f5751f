"""Defaults of new rooms, and the public directory."""

from typing import Annotated

from pydantic import AfterValidator, Field

from tim_server.config.base import Section
from tim_server.matrix.room_versions import ROOM_VERSIONS

DEFAULT_ROOM_VERSION = "12"
"""Spec: https://spec.matrix.org/v1.19/rooms/#complete-list-of-room-versions"""


def _check_room_version(value: str) -> str:
    if value not in ROOM_VERSIONS:
        raise ValueError(f"not one of the room versions {', '.join(ROOM_VERSIONS)}")
    return value


class RoomSettings(Section):
    """What a room gets when its creator says nothing else, and who may read the directory."""

    default_version: Annotated[str, AfterValidator(_check_room_version)] = Field(
        default=DEFAULT_ROOM_VERSION, coerce_numbers_to_str=True, description="The version of new rooms."
    )
    directory_requires_account: bool = Field(
        default=False, description="Whether reading the list of public rooms takes an account."
    )
    directory_told_to_servers: bool = Field(
        default=False, description="Whether other servers may read the list of public rooms."
    )
