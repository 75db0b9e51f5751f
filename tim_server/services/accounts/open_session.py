"""A session: a device of a user, and the tokens that its client gets. Login and registration open one.

Spec: https://spec.matrix.org/v1.19/client-server-api/#relationship-between-access-tokens-and-devices
"""

from dataclasses import dataclass

from tim_server.matrix.errors import InvalidParam
from tim_server.matrix.identifiers import ID_BYTES_MAX, UserId
from tim_server.services.accounts.policy import Randomness, TokenPolicy
from tim_server.services.accounts.tokens import IssuedTokens, TokenOwner, issue_tokens, new_device_id
from tim_server.storage.access_tokens import NewTokens, insert_tokens, revoke_devices
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import Fact
from tim_server.storage.cross_signing_keys import has_public_key
from tim_server.storage.database import Connection
from tim_server.storage.dehydrated_devices import delete_dehydrated_devices
from tim_server.storage.device_lists import mark_changed
from tim_server.storage.device_removal import remove_devices
from tim_server.storage.devices import devices_beyond, upsert_device

DEVICES = "devices"
"""The commit log's stream for what changes a user's devices, or the keys of them or of the user."""

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
    sealed_name: bytes | None
    devices_max: int
    now: int


def draft_session(
    user_id: UserId, request: SessionRequest, policy: TokenPolicy, randomness: Randomness, codec: Codec, *, now: int
) -> SessionDraft:
    """Decide on the device and its tokens; raises `InvalidParam` for a device id or name that is too long."""
    device_id = request.device_id or new_device_id(randomness)
    if len(device_id.encode()) > ID_BYTES_MAX:
        raise InvalidParam(f"The device ID must have at most {ID_BYTES_MAX} bytes")
    sealed_name = None
    if request.initial_device_display_name is not None:
        sealed_name = seal_device_name(request.initial_device_display_name, codec)
    owner = TokenOwner(user_id=user_id, device_id=device_id, refreshable=request.refreshable)
    issued, stored = issue_tokens(owner, policy, randomness, now=now)
    return SessionDraft(
        issued=issued, stored=stored, sealed_name=sealed_name, devices_max=policy.devices_per_user_max, now=now
    )


def seal_device_name(name: str, codec: Codec) -> bytes:
    """A device's display name as it is kept; raises `InvalidParam` for one that is too long."""
    if len(name) > DISPLAY_NAME_LENGTH_MAX:
        raise InvalidParam(f"The device's display name must have at most {DISPLAY_NAME_LENGTH_MAX} characters")
    return codec.encode(name.encode())


async def store_session(tx: Connection, draft: SessionDraft, position: int) -> list[Fact]:
    """Store the device and its tokens; the facts to tell those who share a room with the user. Tokens that the device
    had are revoked, and the devices that were seen longest ago go where the user has too many.

    Raises `InvalidParam` for the public part of a cross-signing key: "Servers therefore must ensure that device IDs
    will not collide with cross-signing public keys."
    """
    user_id, device_id = draft.stored.user_id, draft.stored.device_id
    beyond = await devices_beyond(tx, user_id, kept=device_id, limit=draft.devices_max)
    if await has_public_key(tx, user_id, [device_id]):
        raise InvalidParam("The device ID is the public part of a cross-signing key")
    facts = await remove_devices(tx, user_id, beyond, position)
    await revoke_devices(tx, user_id, [device_id])
    await delete_dehydrated_devices(tx, user_id, [device_id])  # a device with a session is an ordinary one
    is_new = await upsert_device(tx, user_id, device_id, sealed_name=draft.sealed_name, now=draft.now)
    await insert_tokens(tx, draft.stored)
    return await mark_changed(tx, user_id, position, device_id) if is_new else facts
