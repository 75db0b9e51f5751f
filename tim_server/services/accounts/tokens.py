"""Access and refresh tokens: opaque, 256 bits, with a prefix that secret scanners can tell."""

import base64
import hashlib
from dataclasses import dataclass

from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.policy import Randomness, TokenPolicy
from tim_server.storage.access_tokens import NewToken, NewTokens

ACCESS_TOKEN_PREFIX = "tim_at_"
REFRESH_TOKEN_PREFIX = "tim_rt_"
TOKEN_LENGTH_MAX = 200

_TOKEN_BYTES = 32
_DEVICE_ID_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DEVICE_ID_LENGTH = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedTokens:
    """Tokens as their client gets them: in clear, once."""

    user_id: UserId
    device_id: str
    access_token: str
    refresh_token: str | None
    expires_in_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenOwner:
    """The device that tokens are issued to, and whether it can refresh them."""

    user_id: UserId
    device_id: str
    refreshable: bool


def token_hash(token: str) -> bytes:
    """What is stored in place of a token. Tokens are random, so a plain SHA-256 does."""
    return hashlib.sha256(token.encode()).digest()


def issue_tokens(
    owner: TokenOwner, policy: TokenPolicy, randomness: Randomness, *, now: int, predecessor: int | None = None
) -> tuple[IssuedTokens, NewTokens]:
    """New tokens for a device: for its client, and for the store. `predecessor` is the refresh token they replace."""
    access_token = ACCESS_TOKEN_PREFIX + _random_text(randomness)
    refresh_token = REFRESH_TOKEN_PREFIX + _random_text(randomness) if owner.refreshable else None
    lifetime_ms = policy.refreshable_lifetime_ms if owner.refreshable else policy.lifetime_ms
    issued = IssuedTokens(
        user_id=owner.user_id,
        device_id=owner.device_id,
        access_token=access_token,
        refresh_token=refresh_token,
        expires_in_ms=lifetime_ms,
    )
    refresh = None
    if refresh_token is not None:
        refresh_expires_ts = _after(now, policy.refresh_token_lifetime_ms)
        refresh = NewToken(token_hash=token_hash(refresh_token), expires_ts=refresh_expires_ts)
    stored = NewTokens(
        user_id=owner.user_id,
        device_id=owner.device_id,
        access=NewToken(token_hash=token_hash(access_token), expires_ts=_after(now, lifetime_ms)),
        refresh=refresh,
        predecessor=predecessor,
    )
    return issued, stored


def new_device_id(randomness: Randomness) -> str:
    """A device id in the form that clients know: ten capital letters."""
    # 26 does not divide 256, but ids need only differ: the bias costs a tenth of a bit.
    return "".join(_DEVICE_ID_LETTERS[byte % 26] for byte in randomness(_DEVICE_ID_LENGTH))


def _after(now: int, lifetime_ms: int | None) -> int | None:
    return None if lifetime_ms is None else now + lifetime_ms


def _random_text(randomness: Randomness) -> str:
    return base64.urlsafe_b64encode(randomness(_TOKEN_BYTES)).decode().rstrip("=")
