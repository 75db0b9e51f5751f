"""The file with a homeserver's signing key: one line `ed25519 <version> <seed in unpadded Base64>`."""

import os
import re
import secrets
from pathlib import Path

import nacl.signing

from tim_server.config.load import ConfigurationError, Problem
from tim_server.matrix.events.hashes import unpadded_base64
from tim_server.matrix.events.signatures import SigningKey, decode_base64

SEED_BYTES = 32
_LINE = re.compile(r"ed25519 ([A-Za-z0-9_]+) ([A-Za-z0-9+/]+=?)")


def ensure_signing_key(path: Path) -> SigningKey:
    """The key in the file, which is made where it is missing, readable by its owner only.

    Of processes that start together, one makes the file. Raises `ConfigurationError`.
    """
    if not path.exists():
        _create(path)
    return read_signing_key(path)


def read_signing_key(path: Path) -> SigningKey:
    """The key in the file; raises `ConfigurationError`."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not text"
        raise _error(path, f"the signing key cannot be read: {reason}") from None
    match = _LINE.fullmatch(text.strip())
    try:
        seed = decode_base64(match[2]) if match else b""
    except ValueError:
        seed = b""
    if match is None or len(seed) != SEED_BYTES:
        raise _error(path, "is not a signing key: it must hold one line `ed25519 <version> <seed in Base64>`")
    return SigningKey(key_id=f"ed25519:{match[1]}", key=nacl.signing.SigningKey(seed))


def _create(path: Path) -> None:
    line = f"ed25519 a_{secrets.token_hex(3)} {unpadded_base64(secrets.token_bytes(SEED_BYTES))}\n"
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another process was faster; its key counts
        finally:
            draft.unlink()
    except OSError as error:
        raise _error(path, f"the signing key cannot be made: {error.strerror}") from None


def _error(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError([Problem(source=str(path), line=None, key="", reason=reason)])
