"""The master key, which seals the keys of files: in the configuration, or in a file of its own."""

import base64
import binascii
import secrets

from tim_server.config.base import SECRET_KEY_BYTES
from tim_server.config.load import ConfigurationError, Problem
from tim_server.config.secret_file import write_once
from tim_server.config.settings import Settings


def ensure_master_key(settings: Settings) -> None:
    """Make the file where the configuration names no key and there is no file; raises `ConfigurationError`."""
    path = settings.media_master_key_path
    if settings.media_store.master_key is not None or path.exists():
        return
    try:
        write_once(path, base64.b64encode(secrets.token_bytes(SECRET_KEY_BYTES)).decode() + "\n")
    except OSError as error:
        raise master_key_error(settings, f"cannot be made: {error.strerror}") from None


def read_master_keys(settings: Settings) -> tuple[bytes, ...]:
    """The master key, and the former one where there is one; raises `ConfigurationError`."""
    store = settings.media_store
    key = _read_file(settings) if store.master_key is None else base64.b64decode(store.master_key.get_secret_value())
    former = store.former_master_key
    return (key,) if former is None else (key, base64.b64decode(former.get_secret_value()))


def master_key_error(settings: Settings, reason: str) -> ConfigurationError:
    """What is wrong with the master key."""
    if settings.media_store.master_key is None:
        source, key = str(settings.media_master_key_path), ""
    else:
        source, key = "configuration", "media_store.master_key"
    return ConfigurationError([Problem(source=source, line=None, key=key, reason=reason)])


def _read_file(settings: Settings) -> bytes:
    try:
        key = base64.b64decode(settings.media_master_key_path.read_text().strip(), validate=True)
    except OSError as error:
        raise master_key_error(settings, f"the master key of files cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, binascii.Error):
        key = b""
    if len(key) != SECRET_KEY_BYTES:
        raise master_key_error(settings, f"is not a master key: it must hold {SECRET_KEY_BYTES} bytes in Base64")
    return key
