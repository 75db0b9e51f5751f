"""The folder of an authority: where what lies, one writer at a time, and each file either old or new, never half.

authority.json              what it knows (readable)
log                         every decision: when, by which user of the machine, what
root.key.pem                the root's private key: whoever has it is the authority
signer.pem, signer.key.pem  the certificate that signs directories, and its private key
public/                     what everybody may see, and any web server can serve:
    directory.jws, revoked.crl, anchors.pem
members/SERVER/             certificates that it made for members, with their private keys, to be handed over
"""

import fcntl
import getpass
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tim_server.matrix.identifiers import ServerName
from tim_server.services.directory_authority.errors import AuthorityFailed
from tim_server.services.directory_authority.state import AuthorityState, decode_state, encode_state
from tim_server.trust.directory import format_time
from tim_server.trust.publication import ANCHORS_PATH, CRL_PATH, DIRECTORY_PATH

PRIVATE = 0o600
PUBLIC = 0o644
_NOT_IN_FILE_NAMES = re.compile(r"[^A-Za-z0-9.-]+")


@dataclass(frozen=True, slots=True)
class AuthorityFolder:
    """The folder at `path`. Its methods raise `AuthorityFailed` where the file system does not let them.

    With a `passphrase`, private keys of the authority are encrypted when they are made, and read as such.
    """

    path: Path
    passphrase: bytes | None = field(default=None, repr=False)

    @property
    def state_file(self) -> Path:
        """What the authority knows."""
        return self.path / "authority.json"

    @property
    def root_key_file(self) -> Path:
        """The root's private key."""
        return self.path / "root.key.pem"

    @property
    def signer_file(self) -> Path:
        """The certificate that signs directories, with its private key."""
        return self.path / "signer.pem"

    def public_file(self, path: str) -> Path:
        """The file that is published at `path`."""
        return self.path / "public" / path.lstrip("/")

    @property
    def directory_file(self) -> Path:
        """The directory that was signed last."""
        return self.public_file(DIRECTORY_PATH)

    @property
    def crl_file(self) -> Path:
        """The revocation list that was signed last."""
        return self.public_file(CRL_PATH)

    @property
    def anchors_file(self) -> Path:
        """The root's certificate."""
        return self.public_file(ANCHORS_PATH)

    def member_folder(self, server_name: ServerName) -> Path:
        """Where what was made for a server lies."""
        return self.path / "members" / _NOT_IN_FILE_NAMES.sub("_", server_name.lower())

    @contextmanager
    def locked(self) -> Iterator[AuthorityState]:
        """The state, which nobody else changes meanwhile."""
        if not self.state_file.exists():
            raise AuthorityFailed(
                f"there is no authority in {self.path}: name its folder with --folder, or make one with "
                "tim-server trust authority init"
            )
        with self.lock():
            yield self.read_state()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Wait for whoever changes something in the folder."""
        try:
            descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        except OSError as error:
            raise AuthorityFailed(f"{self.path} can't be written to: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def read_state(self) -> AuthorityState:
        """The state as it was written last."""
        return decode_state(self.read(self.state_file))

    def write_state(self, state: AuthorityState) -> None:
        """Put `state` in the place of the one before."""
        self.write(self.state_file, encode_state(state), mode=PRIVATE)

    def log(self, what: str, now: datetime) -> None:
        """Write down a decision, before it is carried out; `what` is one line."""
        line = f"{format_time(now)}\t{_user()}\t{what}\n"
        try:
            descriptor = os.open(self.path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE)
            with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
                opened.write(line)
                opened.flush()
                os.fsync(opened.fileno())
        except OSError as error:
            raise AuthorityFailed(f"{self.path / 'log'} can't be written: {error.strerror}") from None

    def read(self, file: Path) -> bytes:
        """The content of a file."""
        try:
            return file.read_bytes()
        except FileNotFoundError:
            raise AuthorityFailed(f"{file} is missing; restore it from a backup") from None
        except OSError as error:
            raise AuthorityFailed(f"{file} can't be read: {error.strerror}") from None

    def write(self, file: Path, content: bytes, *, mode: int) -> None:
        """Put `content` in the place of what the file had, at once and for good; `mode` are its permissions."""
        draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        try:
            file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            try:
                descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
                with os.fdopen(descriptor, "wb") as opened:
                    os.fchmod(opened.fileno(), mode)  # whatever the umask
                    opened.write(content)
                    opened.flush()
                    os.fsync(opened.fileno())
                draft.replace(file)
            finally:
                draft.unlink(missing_ok=True)
            _sync_folder(file.parent)
        except OSError as error:
            raise AuthorityFailed(f"{file} can't be written: {error.strerror}") from None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _sync_folder(folder: Path) -> None:
    """So that a file's new name outlasts a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
