"""Stored content: the one place where event bodies and other content become bytes and back.

The first byte says how the rest is kept: plain, or sealed with AES-256-GCM under a key of the tenant. What queries need
stands in columns of its own, so sealing needs no change of schema; destroying the key makes backups unreadable too.
"""

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_PLAIN = b"\x00"
_SEALED = 0x01
_NONCE_BYTES = 12
_KEY_ID_BYTES = 4
_FINGERPRINT_BYTES = 16


class SealedContentUnreadable(Exception):
    """Content is sealed with a key that this server does not have, or was altered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealingKey:
    """A 256-bit key and the four bytes that name it in what it sealed."""

    key_id: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Codec:
    """Writes with the first key, reads with any; without keys, content is kept plain."""

    keys: tuple[SealingKey, ...] = ()
    _ciphers: "dict[bytes, AESGCM]" = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ciphers", {key.key_id: aes_gcm(key.key) for key in self.keys})

    def encode(self, content: bytes) -> bytes:
        """The bytes to store for `content`."""
        if not self.keys:
            return _PLAIN + content
        key_id = self.keys[0].key_id
        nonce = secrets.token_bytes(_NONCE_BYTES)
        header = bytes((_SEALED,)) + key_id
        return header + nonce + self._ciphers[key_id].encrypt(nonce, content, header)

    def fingerprint(self, content: bytes) -> bytes:
        """A short keyed hash, for telling whether two contents are equal without storing them where all can read it.
        The last key makes it, the first that there was: newer ones change nothing about it."""
        key = hashlib.blake2b(self.keys[-1].key, person=b"fingerprint").digest() if self.keys else b""
        return hashlib.blake2b(content, key=key, digest_size=_FINGERPRINT_BYTES).digest()

    def fingerprint_of_parts(self) -> "FingerprintOfParts":
        """A fingerprint of content that is too large to be held; another one than `fingerprint` makes of the same."""
        return FingerprintOfParts(self.keys[-1].key if self.keys else b"")

    def decode(self, stored: bytes) -> bytes:
        """The content of what `encode` gave; raises `SealedContentUnreadable`."""
        if stored[0] != _SEALED:
            return stored[1:]
        header, rest = stored[: 1 + _KEY_ID_BYTES], stored[1 + _KEY_ID_BYTES :]
        cipher = self._ciphers.get(header[1:])
        if cipher is None:
            raise SealedContentUnreadable(f"sealed with key {header[1:].hex()}, which is not configured")
        try:
            return cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], header)
        except Exception as error:
            raise SealedContentUnreadable("the sealed content was altered") from error

    def decode_readable(self, stored: bytes) -> bytes:
        """As `decode`, but nothing where the content can't be read: for who looks through all there is."""
        try:
            return self.decode(stored)
        except SealedContentUnreadable:
            return b""


class FingerprintOfParts:
    """A keyed hash of what comes in parts: twelve times as fast as SHA-256, which would take half of an upload's time.

    GHASH, with which GCM authenticates, is an almost universal hash under a secret key. What it gives is hashed once
    more, under another key: from results as they are, its own key could be worked out.
    """

    __slots__ = ("_ghash", "_key", "_size_bytes")

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.algorithms import AES256
        from cryptography.hazmat.primitives.ciphers.modes import GCM

        keys = hashlib.blake2b(key, person=b"content in parts", digest_size=64).digest()
        self._ghash = Cipher(AES256(keys[:32]), GCM(bytes(_NONCE_BYTES))).encryptor()
        self._key = keys[32:]
        self._size_bytes = 0

    def update(self, part: bytes | memoryview) -> None:
        """Add what comes next."""
        self._ghash.authenticate_additional_data(part)
        self._size_bytes += len(part)

    def digest(self) -> bytes:
        """The fingerprint, once all has come."""
        self._ghash.finalize()
        content = self._ghash.tag + self._size_bytes.to_bytes(8, "big")
        return hashlib.blake2b(content, key=self._key, digest_size=_FINGERPRINT_BYTES).digest()


def aes_gcm(key: bytes) -> "AESGCM":
    """The cipher with this key."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 6 MB, for those who seal

    return AESGCM(key)


def make_codec(key: bytes | None) -> Codec:
    """The codec of a tenant: sealing with `key` (32 bytes), or plain without one. The key's hash names it."""
    if key is None:
        return Codec()
    return Codec((sealing_key(key),))


def sealing_key(key: bytes) -> SealingKey:
    """A key of 32 bytes, named by its hash."""
    return SealingKey(key_id=hashlib.sha256(key).digest()[:_KEY_ID_BYTES], key=key)
