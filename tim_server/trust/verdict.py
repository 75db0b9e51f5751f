"""What a trust rule says about a contact: a value, not an exception."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a contact is allowed, and why: a short reason for logs, audit and people, without personal data."""

    is_allowed: bool
    reason: str
