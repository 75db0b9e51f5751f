"""The databases of a configuration: roles for each homeserver, and a watch over the embedded server."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tim_server.cli.databases import open_databases
from tim_server.cli.event_loop import run, until_done
from tim_server.config.settings import Settings


@pytest.fixture
def data_dir(open_tmp_path: Path) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir=open_tmp_path))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def settings_of(data_dir: Path, *tenants: dict[str, object]) -> Settings:
    return Settings.model_validate({"data_dir": data_dir, "tenants": tenants})


async def who_am_i(dsn: str) -> tuple[str, str]:
    connection = await asyncpg.connect(dsn)
    try:
        user, path = await connection.fetchrow("SELECT current_user, current_setting('search_path')")
        return user, path
    finally:
        await connection.close()


def test_each_homeserver_without_a_dsn_gets_a_role_of_its_own(data_dir: Path) -> None:
    settings = settings_of(
        data_dir,
        {"server_name": "a.example"},
        {"server_name": "b.example"},
        {"server_name": "c.example", "database": {"dsn": "postgresql://c@elsewhere/c"}},
    )
    with open_databases(settings) as databases:
        a, b, c = (tenant.database.dsn for tenant in databases.settings.tenants)
        assert a is not None and b is not None and c is not None
        found = [asyncio.run(who_am_i(dsn.get_secret_value())) for dsn in (a, b)]
    roles = [tenant.database_role for tenant in settings.tenants]
    assert found == [(roles[0], roles[0]), (roles[1], roles[1])]
    assert c.get_secret_value() == "postgresql://c@elsewhere/c"


def test_nothing_is_started_where_every_homeserver_has_a_dsn(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path / "none", {"server_name": "c.example", "database": {"dsn": "postgresql://c@elsewhere/c"}}
    )
    with open_databases(settings) as databases:
        assert databases.postgres is None
        assert databases.settings == settings
    assert not (tmp_path / "none").exists()


def test_a_killed_postgresql_is_back_while_watched(data_dir: Path) -> None:
    with open_databases(settings_of(data_dir, {"server_name": "a.example"})) as databases:
        postgres = databases.postgres
        assert postgres is not None and postgres.pid is not None
        first = postgres.pid
        os.kill(first, signal.SIGKILL)

        async def until_back() -> None:
            async with asyncio.timeout(30):
                while postgres.pid in (None, first) or not postgres.is_running:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

        run(lambda _: until_done(until_back(), databases.watch()))
        dsn = databases.settings.tenants[0].database.dsn
        assert dsn is not None
        assert asyncio.run(who_am_i(dsn.get_secret_value()))
