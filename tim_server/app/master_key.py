"""The master key, which seals the keys of files: in the configuration, printed by a command, or in a file."""

import base64
import binascii
import secrets
import subprocess
from pathlib import Path

from tim_server.config.base import SECRET_KEY_BYTES
from tim_server.config.load import ConfigurationError, Problem
from tim_server.config.secret_file import replace, write_once
from tim_server.config.settings import Settings

COMMAND_TIMEOUT_S = 30.0


def ensure_master_key(settings: Settings) -> None:
    """Make the file where nothing else has the key and there is no file; raises `ConfigurationError`."""
    path = settings.media_master_key_path
    if not is_master_key_in_file(settings) or path.exists():
        return
    try:
        write_once(path, _new_key())
    except OSError as error:
        raise master_key_error(settings, f"cannot be made: {error.strerror}") from None


def is_master_key_in_file(settings: Settings) -> bool:
    """Whether the server keeps the master key itself."""
    return settings.media_store.master_key is None and settings.media_store.master_key_command is None


def read_master_keys(settings: Settings) -> tuple[bytes, ...]:
    """The master key, and former ones that may still have sealed something; raises `ConfigurationError`."""
    keys = [_read_key(settings)]
    if settings.media_store.former_master_key is not None:
        keys.append(base64.b64decode(settings.media_store.former_master_key.get_secret_value()))
    if is_master_key_in_file(settings) and settings.former_media_master_key_path.exists():
        keys.append(_read_file(settings, settings.former_media_master_key_path))
    return tuple(keys)


def replace_master_key(settings: Settings) -> None:
    """Put a new master key into the file, and the one until now beside it, first: at no time is either lost, also where
    somebody else does the same. Raises `ConfigurationError`."""
    path, former = settings.media_master_key_path, settings.former_media_master_key_path
    try:
        if not write_once(former, path.read_text()):
            raise master_key_error(settings, f"is being replaced already: {former} is there")
        replace(path, _new_key())
    except OSError as error:
        raise master_key_error(settings, f"cannot be replaced: {error.strerror}") from None


def master_key_error(settings: Settings, reason: str) -> ConfigurationError:
    """What is wrong with the master key."""
    source, key = "configuration", "media_store.master_key"
    if is_master_key_in_file(settings):
        source, key = str(settings.media_master_key_path), ""
    elif settings.media_store.master_key is None:
        key = "media_store.master_key_command"
    return ConfigurationError([Problem(source=source, line=None, key=key, reason=reason)])


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(SECRET_KEY_BYTES)).decode() + "\n"


def _read_key(settings: Settings) -> bytes:
    key, command = settings.media_store.master_key, settings.media_store.master_key_command
    if key is not None and command is not None:
        raise master_key_error(settings, "give either master_key or master_key_command")
    if command is not None:
        return _decoded(settings, _run(settings, command))
    if key is not None:
        return base64.b64decode(key.get_secret_value())
    return _read_file(settings, settings.media_master_key_path)


def _run(settings: Settings, command: tuple[str, ...]) -> bytes:
    """What the command prints. Its errors go to ours: it knows what may be said of them."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=COMMAND_TIMEOUT_S, check=True)
    except subprocess.TimeoutExpired:
        raise master_key_error(settings, f"did not end within {COMMAND_TIMEOUT_S:.0f} seconds") from None
    except subprocess.CalledProcessError as error:
        raise master_key_error(settings, f"ended with status {error.returncode}") from None
    except OSError as error:
        raise master_key_error(settings, f"cannot be run: {error.strerror}") from None
    return done.stdout


def _read_file(settings: Settings, path: Path) -> bytes:
    try:
        return _decoded(settings, path.read_bytes(), path)
    except OSError as error:
        raise master_key_error(settings, f"the master key of files cannot be read: {error.strerror}") from None


def _decoded(settings: Settings, printed: bytes, path: Path | None = None) -> bytes:
    try:
        key = base64.b64decode(printed.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != SECRET_KEY_BYTES:
        what = "what it prints" if path is None else path.name
        raise master_key_error(settings, f"{what} is not a master key: it must hold {SECRET_KEY_BYTES} bytes in Base64")
    return key
