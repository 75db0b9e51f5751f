"""A PostgreSQL of our own, from the binaries of the `embedded` extra: no set-up, no system package.

The folder given holds `data` (the cluster), `run` (the socket), `owner.lock`, and the passwords of the superuser and
of the tenants' roles, readable by their owner only. The server listens on a unix socket in a private folder and asks
for SCRAM authentication. One process owns the server, that is starts and stops it; others attach to it.

Started as root, PostgreSQL runs as an unprivileged user. It enters the data folder as `/proc/self/cwd`, so that the
folder may lie below one closed to that user, such as /root.
"""

import logging
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import NewType, Self
from urllib.parse import quote

from tim_server.storage import provision
from tim_server.storage.embedded_install import (
    EmbeddedPostgresError,
    Install,
    UnixUser,
    can_traverse,
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
    wait_until_gone,
)

AdminDsn = NewType("AdminDsn", str)

SUPERUSER = "tim_server_admin"
PORT = 5432
SOCKET_PATH_BYTES_MAX = 107
START_TIMEOUT_S = 60.0
FAST_STOP_TIMEOUT_S = 30.0
IMMEDIATE_STOP_TIMEOUT_S = 10.0
CLOSED_DATA_FOLDER = "/proc/self/cwd"
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
    "log_min_error_statement": "panic",  # neither statements nor rows of patients in a log
    "log_error_verbosity": "terse",
}
FAST_UNSAFE_SETTINGS: Mapping[str, str] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum_naptime": "1h",
}

_logger = logging.getLogger(__name__)


class EmbeddedPostgres:
    """The server of one folder. `durable=False` trades safety for speed and is for tests only."""

    def __init__(
        self, folder: Path, *, durable: bool = True, max_connections: int = 100, settings: Mapping[str, str] | None = None
    ) -> None:
        self._folder = folder.absolute()
        self._durable = durable
        self._settings = {
            **SETTINGS,
            "max_connections": str(max_connections),
            **({} if durable else FAST_UNSAFE_SETTINGS),
            **(settings or {}),
        }
        self._owner = OwnerLock(self._folder / "owner.lock")
        self._process: subprocess.Popen[bytes] | None = None
        self._socket_folder: Path | None = None

    @property
    def folder(self) -> Path:
        """The folder that holds everything."""
        return self._folder

    @property
    def data_folder(self) -> Path:
        """The database cluster."""
        return self._folder / "data"

    @property
    def log_folder(self) -> Path:
        """PostgreSQL's own log files."""
        return self.data_folder / "log"

    @property
    def is_owner(self) -> bool:
        """Whether this object started the server and will stop it."""
        return self._owner.is_held

    @property
    def pid(self) -> int | None:
        """Process id of the running server."""
        postmaster = PostmasterFile.read(self.data_folder)
        return postmaster.pid if postmaster and is_alive(postmaster.pid) else None

    @property
    def admin_dsn(self) -> AdminDsn:
        """How the superuser connects; the server must have been started."""
        return AdminDsn(self._dsn(SUPERUSER, self._read_secret("superuser.password")))

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
            return self._attach()
        try:
            self._start_as_owner()
        except BaseException:
            self.stop()
            raise
        return self.admin_dsn

    def stop(self) -> None:
        """Fast shutdown: transactions are rolled back, a checkpoint is written. Nothing happens when not the owner."""
        if not self._owner.is_held:
            return
        if self._process is not None:
            _end(self._process)
            self._process = None
        if self._socket_folder is not None and self._socket_folder.parent != self._folder:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
        self._socket_folder = None
        self._owner.release()

    def is_running(self) -> bool:
        """Whether the server that this object started is still alive."""
        return self._process is not None and self._process.poll() is None

    def restart_if_dead(self) -> bool:
        """As the owner: start the server again when it died, under the same address. Whether that was so."""
        if not self._owner.is_held or self.is_running():
            return False
        _logger.error("the embedded PostgreSQL died and is started again; its own log is in %s", self.log_folder)
        self._start_as_owner()
        return True

    async def provision_tenant(self, role: str) -> str:
        """Make sure that `role` has its schema and a password of its own; returns the DSN that it connects with."""
        path = f"tenant-{role}.password"
        if not (self._folder / path).exists():
            password = secrets.token_urlsafe(PASSWORD_BYTES)
            await provision.create_tenant(self.admin_dsn, role=role, password=password)
            self._write_secret(path, password)
        elif self._owner.is_held:
            await provision.create_tenant(self.admin_dsn, role=role, password=self._read_secret(path))
        return self._dsn(role, self._read_secret(path))

    async def drop_tenant(self, role: str) -> None:
        """Remove the role, its schema and its password."""
        await provision.drop_tenant(self.admin_dsn, role=role)
        (self._folder / f"tenant-{role}.password").unlink(missing_ok=True)

    def _start_as_owner(self) -> None:
        user = choose_user(self._folder)
        install = reachable_install(find_install(self._written_by()), user, self._folder)
        if not (self.data_folder / "PG_VERSION").exists():
            self._initialise(install, user)
        if self.data_folder.stat().st_uid != user.uid:
            user = self._user_of_data()
        stop_leftovers(self.data_folder)
        remove_misleading_pid_file(self.data_folder)
        if self._socket_folder is None:
            self._socket_folder = self._make_socket_folder(user)
        for stale in self._socket_folder.glob(".s.PGSQL.*"):
            stale.unlink()
        self._launch(install, user)

    def _written_by(self) -> int | None:
        try:
            return int((self.data_folder / "PG_VERSION").read_text())
        except FileNotFoundError:
            return None
        except PermissionError:
            owner = self.data_folder.stat().st_uid
            raise EmbeddedPostgresError(
                f"{self.data_folder} belongs to the user with id {owner}: start tim-server as that user or as root"
            ) from None

    def _user_of_data(self) -> UnixUser:
        """The cluster stays with the user that made it, when another one would be chosen today."""
        status = self.data_folder.stat()
        if os.geteuid() != 0 or status.st_uid == 0:
            raise EmbeddedPostgresError(
                f"{self.data_folder} belongs to the user with id {status.st_uid}: start tim-server as that user"
            )
        return UnixUser(name=str(status.st_uid), uid=status.st_uid, gid=status.st_gid)

    def _create_folder(self) -> None:
        try:
            self._folder.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
            os.close(os.open(self._folder / "owner.lock", os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise EmbeddedPostgresError(f"{self._folder} cannot be written to: {error.strerror}") from None

    def _initialise(self, install: Install, user: UnixUser) -> None:
        """A new cluster with our database, complete before it gets its name."""
        draft = self._folder / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        _make_private_folder(draft, user)
        password = secrets.token_urlsafe(PASSWORD_BYTES)
        password_file = draft / "superuser.password"
        self._write_secret("superuser.password", password)
        descriptor, path = tempfile.mkstemp(dir=tempfile.gettempdir())
        password_file = Path(path)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(password)
            os.chown(password_file, user.uid, user.gid)
            self._run(
                [
                    str(install.initdb),
                    "--locale=C",
                    "--locale-provider=builtin",
                    "--builtin-locale=C.UTF-8",
                    "--encoding=UTF8",
                    "--auth=scram-sha-256",
                    f"--username={SUPERUSER}",
                    f"--pwfile={password_file}",
                    "--no-instructions",
                    *([] if self._durable else ["--no-sync"]),
                ],
                draft,
                user,
            )
        finally:
            password_file.unlink(missing_ok=True)
        unsafe = [] if self._durable else ["-c", "fsync=off"]
        single = [str(install.postgres), "--single", *unsafe, "postgres"]
        self._run(single, draft, user, statements=f"CREATE DATABASE {provision.DATABASE_NAME}\n")
        draft.rename(self.data_folder)

    def _run(self, command: list[str], cluster: Path, user: UnixUser, *, statements: str = "") -> None:
        done = subprocess.run(
            [command[0], *self._cluster_argument(command[0], cluster, user), *command[1:]],
            input=statements.encode(),
            capture_output=True,
            check=False,
            cwd=cluster,
            **_privileges(user),
        )
        if done.returncode != 0:
            raise EmbeddedPostgresError(f"{Path(command[0]).name} failed:\n{done.stderr.decode(errors='replace')}")
