"""Who is told that somebody is there."""

from pydantic import Field

from tim_server.config.base import Section


class PresenceSettings(Section):
    """Presence: online, unavailable, offline, and a status message."""

    enabled: bool = Field(default=True, description="Whether users are told who is there; if not, nobody seems to be.")
    idle_after_ms: int = Field(
        default=300_000, ge=10_000, description="After how long without doing anything a user counts as unavailable."
    )
    offline_after_ms: int = Field(
        default=30_000,
        ge=1_000,
        description="After how long without a sync a user counts as offline; it may take up to 15 seconds longer.",
    )
    room_members_max: int = Field(
        default=100,
        ge=0,
        description="Rooms with more members don't spread presence: in a room everybody is told of everybody, so that "
        "each doubling of the members makes four times the work. Who shares only such rooms may still ask.",
    )
    status_msg_length_max: int = Field(
        default=1_000, ge=0, description="How many characters a status message may have."
    )
