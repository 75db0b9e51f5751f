"""A session: a device of a user, and the tokens that its client gets. Login and registration open one.

Spec: https://spec.matrix.org/v1.19/client-server-api/#relationship-between-access-tokens-and-devices
"""

from dataclasses import dataclass

from tim_server.matrix.errors import InvalidParam
from tim_server.matrix.identifiers import ID_BYTES_MAX, UserId
from tim_server.services.accounts.policy import Randomness, TokenPolicy
from tim_server.services.accounts.tokens import IssuedTokens, TokenOwner, issue_tokens, new_device_id
from tim_server.storage.access_tokens import NewTokens, insert_tokens, revoke_devices
from tim_server.storage.database import Connection
from tim_server.storage.devices import delete_devices, devices_beyond, upsert_device

DEVICES = "devices"
"""The commit log's stream for what changes a user's list of devices."""

DISPLAY_NAME_LENGTH_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest:
    """What a client says of the device that it logs in with."""

    device_id: str | None = None
    initial_device_display_name: str | None = None
    refreshable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDraft:
    """A session that is decided on but not stored: `issued` is for the client, once the rest is committed."""

    issued: IssuedTokens
    stored: NewTokens
    display_name: str | None
    devices_max: int
    now: int


def draft_session(
    user_id: UserId, request: SessionRequest, policy: TokenPolicy, randomness: Randomness, *, now: int
) -> SessionDraft:
    """Decide on the device and its tokens; raises `InvalidParam` for a device id or name that is too long."""
    device_id = request.device_id or new_device_id(randomness)
    display_name = request.initial_device_display_name
    if len(device_id.encode()) > ID_BYTES_MAX:
        raise InvalidParam(f"The device ID must have at most {ID_BYTES_MAX} bytes")
    if display_name is not None and len(display_name) > DISPLAY_NAME_LENGTH_MAX:
        raise InvalidParam(f"The device's display name must have at most {DISPLAY_NAME_LENGTH_MAX} characters")
    owner = TokenOwner(user_id=user_id, device_id=device_id, refreshable=request.refreshable)
    issued, stored = issue_tokens(owner, policy, randomness, now=now)
    return SessionDraft(
        issued=issued, stored=stored, display_name=display_name, devices_max=policy.devices_per_user_max, now=now
    )


async def store_session(tx: Connection, draft: SessionDraft) -> None:
    """Store the device and its tokens. Tokens that the device had are revoked, and so are the devices that were seen
    longest ago where the user has too many."""
    user_id, device_id = draft.stored.user_id, draft.stored.device_id
    beyond = await devices_beyond(tx, user_id, kept=device_id, limit=draft.devices_max)
    await revoke_devices(tx, user_id, [device_id, *beyond])
    if beyond:
        await delete_devices(tx, user_id, beyond)
    await upsert_device(tx, user_id, device_id, display_name=draft.display_name, now=draft.now)
    await insert_tokens(tx, draft.stored)
