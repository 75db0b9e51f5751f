"""Registration with a shared secret, as existing command-line tools do it.

A tool fetches a nonce, and proves with an HMAC over the new account's data that it knows the secret. A nonce carries
its own expiry and proof of origin, so fetching one leaves no row; it can be used once.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

from tim_server.matrix.errors import Forbidden, InvalidParam, InvalidUsername, Unknown
from tim_server.services.accounts.create_account import AccountCreation, NewAccount
from tim_server.services.accounts.open_session import SessionRequest
from tim_server.services.accounts.passwords import PasswordHashing
from tim_server.services.accounts.policy import Clock, Randomness
from tim_server.services.accounts.register import Registered
from tim_server.storage.audit_log import SHARED_SECRET, AuditEntry, append_audit
from tim_server.storage.database import Database
from tim_server.storage.registration_tokens import use_nonce

NONCE_LIFETIME_MS = 60_000
USER_TYPES = frozenset({"support", "bot"})

_RANDOM_BYTES = 16
_TIME_BYTES = 8
_PROOF_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSecretRequest:
    """An account to be made, and the proof: `mac` is the hex HMAC-SHA1 over the other fields with the secret."""

    nonce: str
    username: str
    password: str
    is_admin: bool
    user_type: str | None
    display_name: str | None
    mac: str
    session: SessionRequest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSecretRegistration:
    """Makes accounts for whoever knows the secret, also where registration is closed. None disables it."""

    secret: str | None
    database: Database
    clock: Clock
    randomness: Randomness
    hashing: PasswordHashing
    accounts: AccountCreation

    def new_nonce(self) -> str:
        """A nonce that is valid for a minute; raises `Unknown` where no secret is configured."""
        issued = self.clock().to_bytes(_TIME_BYTES, "big") + self.randomness(_RANDOM_BYTES)
        return base64.urlsafe_b64encode(issued + self._nonce_proof(issued)).decode()

    async def register(self, request: SharedSecretRequest) -> Registered:
        """Make the account, and open its first session if one is asked for.

        Raises `Unknown` for a nonce that is not valid, `Forbidden` for a wrong mac, and what making an account raises.
        """
        issued_ts = self._issued_ts(request.nonce)
        if not hmac.compare_digest(self._mac(request).encode(), request.mac.lower().encode()):
            await self._record_refusal(request)
            raise Forbidden("HMAC incorrect")
        await self._use_nonce(request.nonce, issued_ts)
        if request.user_type is not None and request.user_type not in USER_TYPES:
            raise InvalidParam("user_type is not known")
        self.hashing.check_acceptable(request.password)
        user_id = self.accounts.user_id_of(request.username)
        await self.accounts.check_available(user_id)
        tokens = await self.accounts.create(
            NewAccount(
                user_id=user_id,
                password_hash=await self.hashing.hash(request.password),
                actor=SHARED_SECRET,
                is_admin=request.is_admin,
                user_type=request.user_type,
                display_name=request.display_name,
                session=request.session,
            )
        )
        return Registered(user_id=user_id, tokens=tokens)

    def _key(self) -> bytes:
        if not self.secret:
            raise Unknown("Shared secret registration is not enabled")
        return self.secret.encode()

    def _nonce_proof(self, issued: bytes) -> bytes:
        return hmac.new(self._key(), b"nonce" + issued, hashlib.sha256).digest()[:_PROOF_BYTES]

    def _issued_ts(self, nonce: str) -> int:
        key_error = Unknown("unrecognised nonce")
        try:
            content = base64.urlsafe_b64decode(nonce.encode())
        except (binascii.Error, ValueError):
            self._key()
            raise key_error from None
        issued, proof = content[: _TIME_BYTES + _RANDOM_BYTES], content[_TIME_BYTES + _RANDOM_BYTES :]
        if not hmac.compare_digest(self._nonce_proof(issued), proof):
            raise key_error
        issued_ts = int.from_bytes(issued[:_TIME_BYTES], "big")
        if issued_ts + NONCE_LIFETIME_MS <= self.clock():
            raise key_error
        return issued_ts

    async def _use_nonce(self, nonce: str, issued_ts: int) -> None:
        async with self.database.transaction() as tx:
            fresh = await use_nonce(tx, nonce, now=self.clock(), expires_ts=issued_ts + NONCE_LIFETIME_MS)
        if not fresh:
            raise Unknown("unrecognised nonce")

    async def _record_refusal(self, request: SharedSecretRequest) -> None:
        """Somebody who does not know the secret tries to make accounts."""
        try:
            wanted: str = self.accounts.user_id_of(request.username)
        except InvalidUsername:
            wanted = "a name that no account can have"
        entry = AuditEntry(actor=SHARED_SECRET, action="user.create", object=wanted, outcome="refused")
        async with self.database.transaction() as tx:
            await append_audit(tx, entry)

    def _mac(self, request: SharedSecretRequest) -> str:
        """The hex HMAC-SHA1 that whoever knows the secret computes."""
        parts = [request.nonce, request.username, request.password, "admin" if request.is_admin else "notadmin"]
        if request.user_type:
            parts.append(request.user_type)
        return hmac.new(self._key(), "\0".join(parts).encode(), hashlib.sha1).hexdigest()
