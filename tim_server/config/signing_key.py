"""The file with a homeserver's signing key: one line `ed25519 <version> <seed in unpadded Base64>`.

Beside it, in a file whose name ends in `.old`, stand the public parts of keys that were used before: lines
`ed25519 <version> <key in unpadded Base64> <when it was last used, in milliseconds since 1970>`.
"""

import re
import secrets
from pathlib import Path

import nacl.signing

from tim_server.config.load import ConfigurationError, Problem
from tim_server.config.secret_file import replace, write_once
from tim_server.matrix.events.hashes import unpadded_base64
from tim_server.matrix.events.signatures import SigningKey, decode_base64
from tim_server.matrix.server_keys import ServerKey

SEED_BYTES = 32
KEY_BYTES = 32
_OLD_LINE = re.compile(r"ed25519 ([A-Za-z0-9_]+) ([A-Za-z0-9+/]+=?) ([0-9]{1,16})")
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


def old_keys_path(path: Path) -> Path:
    """Where the public parts of former keys are, beside the file of the key."""
    return path.with_name(f"{path.name}.old")


def read_old_keys(path: Path) -> dict[str, ServerKey]:
    """The keys that were used before the one in the file `path`, by key id; raises `ConfigurationError`."""
    old_path = old_keys_path(path)
    try:
        lines = old_path.read_text().splitlines() if old_path.exists() else []
    except (OSError, UnicodeDecodeError):
        raise _error(old_path, "the former keys cannot be read") from None
    keys: dict[str, ServerKey] = {}
    for line in lines:
        match = _OLD_LINE.fullmatch(line.strip())
        key = decode_base64(match[2]) if match else b""
        if match is None or len(key) != KEY_BYTES:
            raise _error(old_path, "must hold lines `ed25519 <version> <key in Base64> <milliseconds since 1970>`")
        keys[f"ed25519:{match[1]}"] = ServerKey(verify_key=key, valid_until_ts=int(match[3]), is_old=True)
    return keys


def rotate_signing_key(path: Path, *, last_used_ms: int) -> SigningKey:
    """A new key in the file `path`; the public part of the one before goes to the former keys. What was signed with it
    until it was, or will be, last used stays valid. Raises `ConfigurationError`.

    The former key is written down first: whatever happens between, no signature is left without its key.
    """
    before = read_signing_key(path)
    old_path = old_keys_path(path)
    line = f"ed25519 {before.key_id.partition(':')[2]} {unpadded_base64(before.verify_key)} {last_used_ms}\n"
    read_old_keys(path)
    try:
        replace(old_path, (old_path.read_text() if old_path.exists() else "") + line)
        replace(path, _new_line())
    except OSError as error:
        raise _error(path, f"the signing key cannot be replaced: {error.strerror}") from None
    return read_signing_key(path)


def _create(path: Path) -> None:
    try:
        write_once(path, _new_line())
    except OSError as error:
        raise _error(path, f"the signing key cannot be made: {error.strerror}") from None


def _new_line() -> str:
    return f"ed25519 a_{secrets.token_hex(3)} {unpadded_base64(secrets.token_bytes(SEED_BYTES))}\n"


def _error(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError([Problem(source=str(path), line=None, key="", reason=reason)])
