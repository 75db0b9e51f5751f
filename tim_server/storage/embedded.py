"""A PostgreSQL of our own, from the binaries of the `embedded` extra: no set-up, no system package.

The folder given holds `data` (the cluster), `run` (the socket), `owner.lock`, and the passwords of the superuser and
of the tenants' roles, readable by their owner only. The server listens on a unix socket in a private folder and asks
for SCRAM authentication. One process owns the server, that is starts and stops it; others attach to it. Started as
root, it runs as an unprivileged user.
"""

import logging
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import NewType, Self
from urllib.parse import quote

from tim_server.storage import provision
from tim_server.storage.embedded_cluster import (
    START_TIMEOUT_S,
    SUPERUSER,
    Runtime,
    create_cluster,
    launch,
    make_socket_folder,
)
from tim_server.storage.embedded_install import (
    EmbeddedPostgresError,
    UnixUser,
    choose_user,
    find_install,
    reachable_install,
)
from tim_server.storage.embedded_process import (
    POLL_INTERVAL_S,
    OwnerLock,
    PostmasterFile,
    is_alive,
    remove_misleading_pid_file,
    stop_leftovers,
)

AdminDsn = NewType("AdminDsn", str)

PORT = 5432
FAST_STOP_TIMEOUT_S = 30.0
IMMEDIATE_STOP_TIMEOUT_S = 10.0
PASSWORD_BYTES = 32

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "logging_collector": "on",  # one file for each day of the week
    "log_directory": "log",
    "log_filename": "postgresql-%a.log",
    "log_rotation_age": "1d",
    "log_truncate_on_rotation": "on",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",  # neither statements nor rows in a log: they may name patients
    "log_error_verbosity": "terse",
}
FAST_UNSAFE_SETTINGS: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
}

_logger = logging.getLogger(__name__)


class EmbeddedPostgres:
    """The server of one folder.

    `durable=False` is for tests: what is committed survives SIGKILL, but not the failure of the machine.
    """

    def __init__(self, folder: Path, *, durable: bool = True, max_connections: int = 100) -> None:
        self._folder = folder.absolute()
        self._durable = durable
        unsafe = {} if durable else FAST_UNSAFE_SETTINGS
        self._settings = {**SETTINGS, **unsafe, "max_connections": str(max_connections)}
        self._owner = OwnerLock(self._folder / "owner.lock")
        self._process: subprocess.Popen[bytes] | None = None
        self._socket_folder: Path | None = None

    @property
    def folder(self) -> Path:
        """The folder that holds everything."""
        return self._folder

    @property
    def data_folder(self) -> Path:
        """The database cluster, PostgreSQL's own logs in `log` included."""
        return self._folder / "data"

    @property
    def is_owner(self) -> bool:
        """Whether this object started the server and will stop it."""
        return self._owner.is_held

    @property
    def is_running(self) -> bool:
        """Whether the server that this object started is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id of the server, whoever started it."""
        postmaster = PostmasterFile.read(self.data_folder)
        return postmaster.pid if postmaster and is_alive(postmaster.pid) else None

    @property
    def admin_dsn(self) -> AdminDsn:
        """How the superuser connects, once the server has been started."""
        return AdminDsn(self._dsn(SUPERUSER, "superuser.password"))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> AdminDsn:
        """Start the server, or attach to the one that another live process owns; blocks until it answers.

        A server that a killed process left behind is ended first. Raises `EmbeddedPostgresError`.
        """
        self._create_folder()
        if not self._owner.is_held and not self._owner.take():
            self._attach()
            return self.admin_dsn
        try:
            self._start_as_owner()
        except BaseException:
            self.stop()
            raise
        return self.admin_dsn

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back. Nothing happens where another process is the owner."""
        if not self._owner.is_held:
            return
        if self._process is not None:
            _end(self._process)
            self._process = None
        if self._socket_folder is not None and self._socket_folder.parent != self._folder:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
        self._socket_folder = None
        self._owner.release()

    def restart_if_dead(self) -> bool:
        """As the owner: start the server again, under the same address, if it died. Whether that was so."""
        if not self._owner.is_held or self.is_running:
            return False
        _logger.error("the embedded PostgreSQL died and is started again; see its log below %s", self.data_folder)
        self._start_as_owner()
        return True

    async def provision_tenant(self, role: str) -> str:
        """Make sure that `role` has its schema and a password of its own; returns the DSN that it connects with."""
        secret = _tenant_secret(role)
        is_known = (self._folder / secret).exists()
        if self._owner.is_held or not is_known:
            password = self._read_secret(secret) if is_known else secrets.token_urlsafe(PASSWORD_BYTES)
            self._write_secret(secret, password)
            await provision.create_tenant(self.admin_dsn, role=role, password=password)
        return self._dsn(role, secret)

    async def drop_tenant(self, role: str) -> None:
        """Remove the role, its schema and its password."""
        await provision.drop_tenant(self.admin_dsn, role=role)
        (self._folder / _tenant_secret(role)).unlink(missing_ok=True)

    def _create_folder(self) -> None:
        """As root the folder can be passed through, not listed, by the user whom PostgreSQL runs as."""
        try:
            self._folder.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
            if not os.access(self._folder, os.W_OK | os.X_OK):
                raise PermissionError(0, "permission denied")
        except OSError as error:
            raise EmbeddedPostgresError(f"the folder {self._folder} cannot be used: {error.strerror}") from None

    def _start_as_owner(self) -> None:
        user = self._owner_of_data() or choose_user(self._folder)
        install = reachable_install(find_install(self._written_by()), user, self._folder)
        runtime = Runtime(install=install, user=user)
        if not self.data_folder.exists():
            password = secrets.token_urlsafe(PASSWORD_BYTES)
            self._write_secret("superuser.password", password)
            create_cluster(self.data_folder, runtime, password=password, durable=self._durable)
        stop_leftovers(self.data_folder)
        remove_misleading_pid_file(self.data_folder)
        if self._socket_folder is None:
            self._socket_folder = make_socket_folder(self._folder / "run", user)
        for stale in self._socket_folder.glob(".s.PGSQL.*"):
            stale.unlink()
        directories = '"' + str(self._socket_folder).replace('"', '""') + '"'
        self._process = launch(self.data_folder, runtime, {**self._settings, "unix_socket_directories": directories})

    def _owner_of_data(self) -> UnixUser | None:
        """The cluster stays with the user who made it; None where there is no cluster yet."""
        if not self.data_folder.exists():
            return None
        status = self.data_folder.stat()
        user = UnixUser(name=f"with id {status.st_uid}", uid=status.st_uid, gid=status.st_gid)
        if os.geteuid() != 0 and not user.is_current:
            raise EmbeddedPostgresError(
                f"{self.data_folder} belongs to the user {user.name}: start tim-server as that user or as root"
            )
        return user

    def _written_by(self) -> int | None:
        if not self.data_folder.exists():
            return None
        return int((self.data_folder / "PG_VERSION").read_text())

    def _attach(self) -> None:
        """Wait until the server of the owning process answers."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            postmaster = PostmasterFile.read(self.data_folder)
            if postmaster and postmaster.is_ready and is_alive(postmaster.pid):
                self._socket_folder = Path(postmaster.socket_folder)
                return
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"another process holds {self._folder}, but its PostgreSQL does not answer")
            time.sleep(POLL_INTERVAL_S)

    def _dsn(self, role: str, secret: str) -> str:
        if self._socket_folder is None:
            raise EmbeddedPostgresError("the embedded PostgreSQL has not been started")
        host = quote(str(self._socket_folder), safe="")
        return f"postgresql://{role}:{self._read_secret(secret)}@/{provision.DATABASE_NAME}?host={host}&port={PORT}"

    def _read_secret(self, name: str) -> str:
        try:
            return (self._folder / name).read_text().strip()
        except OSError as error:
            raise EmbeddedPostgresError(f"{self._folder / name} cannot be read: {error.strerror}") from None

    def _write_secret(self, name: str, value: str) -> None:
        """Replaced in one step, readable by the owner of the folder only."""
        draft = self._folder / f"{name}.new"
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(value + "\n")
            file.flush()
            os.fsync(file.fileno())
        owner = self._folder.stat()
        if os.geteuid() != owner.st_uid:
            os.chown(draft, owner.st_uid, owner.st_gid)
        draft.rename(self._folder / name)


def _tenant_secret(role: str) -> str:
    if not provision.is_valid_role(role):
        raise ValueError(f"not a name for a role: {role!r}")
    return f"tenant-{role}.password"


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Fast shutdown, and if that takes too long an immediate one, from which the next start recovers."""
    for number, timeout_s in ((signal.SIGINT, FAST_STOP_TIMEOUT_S), (signal.SIGQUIT, IMMEDIATE_STOP_TIMEOUT_S)):
        if process.poll() is None:
            process.send_signal(number)
        try:
            process.wait(timeout_s)
            return
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    process.wait()
