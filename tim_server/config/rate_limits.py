"""How often an account, or an address where there is no account yet, may call something."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from tim_server.config.base import Section
from tim_server.matrix.identifiers import UserId


class BucketSettings(Section):
    """`burst` requests at once, and `per_second` of them in the long run."""

    per_second: float = Field(gt=0, description="Requests a second, in the long run.")
    burst: int = Field(ge=1, description="Requests at once.")


def _parse_user_id(value: str) -> str:
    return UserId.parse(value)


class RateLimitSettings(Section):
    """One bucket for each kind of request. Several users often share one address, so only what comes before a login
    is counted by address."""

    enabled: bool = Field(default=True, description="Whether there are limits at all.")
    exempt_users: tuple[Annotated[str, AfterValidator(_parse_user_id)], ...] = Field(
        default=(), examples=[["@bridge:example.org"]], description="Users without limits, such as bots and bridges."
    )
    default: BucketSettings = Field(
        default=BucketSettings(per_second=50, burst=500), description="Whatever has no limit of its own."
    )
    send: BucketSettings = Field(
        default=BucketSettings(per_second=10, burst=100), description="Sending events, by account."
    )
    create_room: BucketSettings = Field(
        default=BucketSettings(per_second=1, burst=30), description="Creating rooms, by account."
    )
    join: BucketSettings = Field(
        default=BucketSettings(per_second=2, burst=50), description="Joining rooms, by account."
    )
    invite: BucketSettings = Field(
        default=BucketSettings(per_second=5, burst=100),
        description="Inviting users, by account; notices of identity servers by address.",
    )
    to_device: BucketSettings = Field(
        default=BucketSettings(per_second=20, burst=300), description="Sending messages to devices, by account."
    )
    claim_keys: BucketSettings = Field(
        default=BucketSettings(per_second=1, burst=50),
        description="Claiming one-time keys, by account: each request can take one of every device.",
    )
    directory: BucketSettings = Field(
        default=BucketSettings(per_second=5, burst=100),
        description="Searching users and public rooms, and reading spaces, by account; the public rooms without one by "
        "address.",
    )
    initial_sync: BucketSettings = Field(
        default=BucketSettings(per_second=1, burst=20),
        description="The older forms of a first sync (/initialSync of a user or of a room), by account: each is put "
        "together as a whole.",
    )
    upload: BucketSettings = Field(
        default=BucketSettings(per_second=2, burst=100), description="Uploading files, by account."
    )
    preview_url: BucketSettings = Field(
        default=BucketSettings(per_second=1, burst=50), description="Previews of web pages, by account."
    )
    report: BucketSettings = Field(
        default=BucketSettings(per_second=0.2, burst=20), description="Reporting events, rooms and users, by account."
    )
    login: BucketSettings = Field(
        default=BucketSettings(per_second=5, burst=50),
        description="Logins by address. Wrong passwords are counted for each account besides (passwords.attempts_max).",
    )
    registration: BucketSettings = Field(
        default=BucketSettings(per_second=0.5, burst=20), description="Registrations by address."
    )
    federation: BucketSettings = Field(
        default=BucketSettings(per_second=200, burst=2_000),
        description="Requests of other servers, by server, and by address before it is known which server asks. "
        "One whose body takes long to be read counts as several.",
    )

    def buckets(self) -> Mapping[str, BucketSettings]:
        """The limits by name of their bucket; empty where limits are switched off."""
        if not self.enabled:
            return {}
        return {
            name: getattr(self, name)
            for name, field in type(self).model_fields.items()
            if field.annotation is BucketSettings
        }
