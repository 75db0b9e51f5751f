"""Checks of the requester that hold for whatever they do to rooms."""

from tim_server.matrix.errors import UserSuspended
from tim_server.services.accounts.requester import Requester


def check_may_act(requester: Requester) -> None:
    """Raise `UserSuspended` for who may only read, leave rooms and redact their own events.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#account-suspension
    """
    if requester.is_suspended:
        raise UserSuspended()
