"""Creating a database cluster and running the server on it, as the user chosen for it.

A folder closed to that user (below /root) is entered while we are still root and named `/proc/self/cwd` from then on.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tim_server.storage.embedded_install import EmbeddedPostgresError, Install, UnixUser, can_traverse
from tim_server.storage.embedded_process import POLL_INTERVAL_S, PostmasterFile
from tim_server.storage.provision import DATABASE_NAME

SUPERUSER = "tim_server_admin"
SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_BYTES_MAX = 107
START_TIMEOUT_S = 60.0
STARTUP_LOG = "startup.log"
ERROR_LINES_MAX = 12
CLOSED_DATA_FOLDER = "/proc/self/cwd"
FIRST_STATEMENTS = f"""\
CREATE DATABASE {DATABASE_NAME}
REVOKE ALL ON DATABASE {DATABASE_NAME}, postgres, template1 FROM PUBLIC
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Which binaries run as whom."""

    install: Install
    user: UnixUser


def create_cluster(folder: Path, runtime: Runtime, *, password: str, durable: bool) -> None:
    """A new cluster with our empty database in `folder`, complete before it gets that name."""
    draft = folder.with_name(folder.name + ".new")
    shutil.rmtree(draft, ignore_errors=True)
    make_private_folder(draft, runtime.user)
    descriptor, password_file = tempfile.mkstemp(prefix="tim-server-")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(password)
        if not runtime.user.is_current:
            os.chown(password_file, runtime.user.uid, runtime.user.gid)
        initdb = [str(runtime.install.initdb), "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        initdb += ["--encoding=UTF8", "--auth=scram-sha-256", f"--username={SUPERUSER}", f"--pwfile={password_file}"]
        _run([*initdb, "--no-instructions", *([] if durable else ["--no-sync"])], draft, runtime.user)
    finally:
        Path(password_file).unlink()
    single = [str(runtime.install.postgres), "--single", *([] if durable else ["-c", "fsync=off"]), "postgres"]
    _run(single, draft, runtime.user, statements=FIRST_STATEMENTS)
    draft.rename(folder)


def _run(command: Sequence[str], cluster: Path, user: UnixUser, *, statements: str = "") -> None:
    process = _spawn(command, cluster, user, stdin=subprocess.PIPE, output=subprocess.PIPE)
    output, _ = process.communicate(statements.encode())
    if process.returncode != 0:
        raise EmbeddedPostgresError(f"{Path(command[0]).name} failed: {_last_lines(output.decode(errors='replace'))}")


def launch(cluster: Path, runtime: Runtime, settings: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Run the server on `cluster`; returns when it accepts connections, raises `EmbeddedPostgresError`."""
    options = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
    startup_log = cluster.with_name(STARTUP_LOG)
    with startup_log.open("wb") as output:
        command = [str(runtime.install.postgres), *options]
        process = _spawn(command, cluster, runtime.user, stdin=subprocess.DEVNULL, output=output.fileno())
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _is_ready(cluster, process.pid):
        if process.poll() is not None:
            reason = _last_lines(startup_log.read_text(errors="replace"))
            raise EmbeddedPostgresError(f"PostgreSQL did not start on {cluster}: {reason}")
        if time.monotonic() > deadline:
            process.kill()
            raise EmbeddedPostgresError(f"PostgreSQL on {cluster} did not answer within {START_TIMEOUT_S:.0f} s")
        time.sleep(POLL_INTERVAL_S)
    return process


def _is_ready(cluster: Path, pid: int) -> bool:
    postmaster = PostmasterFile.read(cluster)
    return postmaster is not None and postmaster.pid == pid and postmaster.is_ready


def _spawn(
    command: Sequence[str], cluster: Path, user: UnixUser, *, stdin: int, output: int
) -> "subprocess.Popen[bytes]":
    """A session of its own keeps the terminal's Ctrl-C away: the server is to stop after us, not with us."""
    location = str(cluster) if can_traverse(cluster, user) else CLOSED_DATA_FOLDER
    environment = {"PGDATA": location, "LC_ALL": "C", "PATH": os.defpath}
    identity = None if user.is_current else user
    return subprocess.Popen(
        command,
        cwd=cluster,
        env=environment,
        stdin=stdin,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        umask=0o077,
        user=identity.uid if identity else None,
        group=identity.gid if identity else None,
        extra_groups=[] if identity else None,
    )


def _last_lines(output: str) -> str:
    return "\n".join(output.strip().splitlines()[-ERROR_LINES_MAX:])


def make_private_folder(folder: Path, user: UnixUser) -> None:
    """An empty or existing folder that only `user` (and root) may enter."""
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    if not user.is_current:
        os.chown(folder, user.uid, user.gid)


def make_socket_folder(preferred: Path, user: UnixUser) -> Path:
    """`preferred`, or a private folder with a short path where `user` cannot reach it or a socket's path is limited."""
    if len(os.fsencode(preferred / SOCKET_NAME)) <= SOCKET_PATH_BYTES_MAX and can_traverse(preferred.parent, user):
        make_private_folder(preferred, user)
        return preferred
    short = Path(tempfile.mkdtemp(prefix="tim-server-"))
    if not can_traverse(short.parent, user):
        short.rmdir()
        short = Path(tempfile.mkdtemp(prefix="tim-server-", dir="/tmp"))
    make_private_folder(short, user)
    return short
