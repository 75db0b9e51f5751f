"""The body that login, registration and their kin answer with: who is logged in, and the tokens."""

from typing import Any, Self

from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.tokens import IssuedTokens
from tim_server.web.response_model import UNSET, ResponseModel, UnsetType


class SessionResponse(ResponseModel):
    """An account, and unless login was inhibited its first session.

    `home_server` is deprecated, and old clients read it.
    """

    user_id: str
    home_server: str
    access_token: str | UnsetType = UNSET
    device_id: str | UnsetType = UNSET
    refresh_token: str | UnsetType = UNSET
    expires_in_ms: int | UnsetType = UNSET
    well_known: Any = UNSET

    @classmethod
    def of(cls, user_id: UserId, tokens: IssuedTokens | None, *, well_known: Any = UNSET) -> Self:
        """The response for tokens that were issued; None for an account without a session."""
        if tokens is None:
            return cls(user_id=user_id, home_server=user_id.server_name)
        return cls(
            user_id=user_id,
            home_server=user_id.server_name,
            access_token=tokens.access_token,
            device_id=tokens.device_id,
            refresh_token=UNSET if tokens.refresh_token is None else tokens.refresh_token,
            expires_in_ms=UNSET if tokens.expires_in_ms is None else tokens.expires_in_ms,
            well_known=well_known,
        )
