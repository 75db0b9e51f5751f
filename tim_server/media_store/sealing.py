"""How a file is sealed: with AES-256-GCM, in chunks, under a key of its own.

The nonce of a chunk is its number and whether it is the last one, and what is authenticated beside it names the file.
So a chunk opens at its own place in its own file only: none can be exchanged, repeated, left out or cut off. A key
seals one file, once, so that no nonce is used twice.
"""

import secrets
from typing import TYPE_CHECKING

from tim_server.media_store.errors import FileAltered
from tim_server.storage.codec import aes_gcm

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CHUNK_BYTES = 256 * 1024
KEY_BYTES = 32
TAG_BYTES = 16
SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES
_FORMAT = b"tim-media-1\0"
_NUMBER_BYTES = 11


def new_file_key() -> bytes:
    """A key for one file."""
    return secrets.token_bytes(KEY_BYTES)


def chunk_count(size_bytes: int) -> int:
    """How many chunks a file of this size has; an empty file has an empty one."""
    return max(1, -(-size_bytes // CHUNK_BYTES))


def sealed_size(size_bytes: int) -> int:
    """How many bytes a file of this size takes in the store."""
    return size_bytes + chunk_count(size_bytes) * TAG_BYTES


class FileCipher:
    """Seals and opens the chunks of one file. `identity` is what the file is known as."""

    __slots__ = ("_cipher", "_identity")

    def __init__(self, key: bytes, identity: str) -> None:
        self._cipher: AESGCM = aes_gcm(key)
        self._identity = _FORMAT + identity.encode()

    def seal(self, chunk: memoryview, number: int, *, is_last: bool, into: memoryview) -> None:
        """Write the bytes to store for a chunk: `TAG_BYTES` more, which is how long `into` is."""
        self._cipher.encrypt_into(_nonce(number, is_last=is_last), chunk, self._identity, into)

    def open(self, sealed: bytes | memoryview, number: int, *, is_last: bool) -> bytes:
        """The chunk that `seal` was given; raises `FileAltered`."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(_nonce(number, is_last=is_last), sealed, self._identity)
        except (InvalidTag, ValueError):
            raise FileAltered(f"chunk {number} of a file does not open") from None


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(_NUMBER_BYTES, "big") + bytes((is_last,))
