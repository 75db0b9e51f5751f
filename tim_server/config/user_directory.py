"""Whom users find when they search for somebody."""

from pydantic import Field

from tim_server.config.base import Section


class UserDirectorySettings(Section):
    """Searching users by name or id."""

    search_all_users: bool = Field(
        default=False,
        description="Whether users find everybody who has an account, as in an organisation whose members all know of "
        "each other. Otherwise they find those who share a room with them or are in a public room.",
    )
    results_max: int = Field(default=100, ge=1, le=1_000, description="How many users one search gives at most.")
