"""Who makes a request.

Spec: https://spec.matrix.org/v1.19/client-server-api/#using-access-tokens
"""

from dataclasses import dataclass

from tim_server.matrix.identifiers import UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """The user that an access token stands for, and the device that it was given to.

    `token_id` names the token's row and `device_id` is None for tokens without a device. A suspended user may read,
    but not send (`is_suspended`).
    """

    user_id: UserId
    device_id: str | None
    token_id: int
    is_guest: bool = False
    is_admin: bool = False
    is_suspended: bool = False
