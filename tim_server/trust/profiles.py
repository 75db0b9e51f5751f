"""Profiles: which rules a homeserver keeps about contact with others. They are data; code asks for a rule, never for a
profile."""

from dataclasses import dataclass
from enum import StrEnum


class Profile(StrEnum):
    """The profiles that a homeserver can be configured with."""

    OPEN = "open"
    DIRECTORY = "directory"
    TIM_PRO = "tim-pro"
    TIM_EPA = "tim-epa"
    TIMPLUS = "timplus"
    HIPAA = "hipaa"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRules:
    """What it takes to talk to another server."""

    needs_listing: bool
    """A directory lists it."""
    needs_certificate: bool
    """Its organisation certificate verifies."""
    needs_destination: bool
    """Its requests say whom they are for: otherwise a third server could hand on to us what it was asked for itself.
    Servers from before version 1.3 of the specification do not say it."""
    allows_url_previews: bool = True
    """The server may look at pages that users refer to, if it is configured to. TI-Messenger forbids it (A_26344)."""


OPEN = ProfileRules(needs_listing=False, needs_certificate=False, needs_destination=False)
DIRECTORY = ProfileRules(needs_listing=True, needs_certificate=True, needs_destination=True)

RULES: dict[Profile, ProfileRules] = {Profile.OPEN: OPEN, Profile.DIRECTORY: DIRECTORY}
"""The profiles that this release has; the others are refused when they are configured."""
