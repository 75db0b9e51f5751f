"""What a registration asks for, in the form in which its session of user-interactive authentication keeps it.

Spec: https://spec.matrix.org/v1.19/client-server-api/#user-interactive-api-in-the-rest-api
"""

from dataclasses import asdict, dataclass

import orjson

from tim_server.services.accounts.open_session import SessionRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedAccount:
    """The name (None: any), the hash of the password (None: not given yet), and the first session (None: none)."""

    username: str | None
    password_hash: str | None
    session: SessionRequest | None

    def as_json(self) -> bytes:
        """The bytes to keep."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, kept: bytes) -> "WantedAccount":
        """What `as_json` kept."""
        fields = orjson.loads(kept)
        session = fields["session"]
        return cls(
            username=fields["username"],
            password_hash=fields["password_hash"],
            session=None if session is None else SessionRequest(**session),
        )
