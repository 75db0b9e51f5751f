"""`tim-server media check`: files against the database, while the server runs."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import obstore
import pytest
import yaml
from typer.testing import CliRunner, Result

from tests.app.test_media_keys import new_key
from tests.client_api.test_thumbnails import thumbnail
from tests.files import download, uploaded
from tests.images import image
from tests.people import MEDIA_STORE, SERVER, Person, run_hospital
from tests.ports import free_ports
from tests.s3 import S3, names_in, run_s3
from tests.table_dump import open_tables
from tim_server.cli import media_check
from tim_server.cli.failures import EXIT_CONFIGURATION, EXIT_UNAVAILABLE
from tim_server.cli.main import cli

MakeDsn = Callable[[], Awaitable[str]]
BUCKET = "files"
LONG_AGO_S = 7 * 24 * 3_600


@dataclass
class Place:
    """A homeserver's configuration, for the server and for the command line."""

    dsn: str
    folder: Path
    media_store: dict[str, Any]

    async def check(self, *options: str, **changed: Any) -> Result:
        path = self.folder / "tim.yaml"
        tenant = {"server_name": SERVER, "database": {"dsn": self.dsn}}
        store = {**self.media_store, **changed}
        path.write_text(yaml.safe_dump({**tenant, "data_dir": str(self.folder), "media_store": store}))
        command = ["media", "check", "--config", str(path), *options]
        return await asyncio.to_thread(CliRunner().invoke, cli, command)

    def objects(self) -> list[Path]:
        return [path for path in (self.folder / "media").rglob("*") if path.is_file()]

    def put(self, *, name: str = "ab/" + "1" * 38, age_s: float = LONG_AGO_S) -> Path:
        """An object that nothing refers to."""
        path = next((self.folder / "media").iterdir()) / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"sealed once")
        os.utime(path, (time.time() - age_s,) * 2)
        return path


@pytest.fixture
async def place(make_tenant_dsn: MakeDsn, tmp_path: Path) -> Place:
    return Place(await make_tenant_dsn(), tmp_path, MEDIA_STORE)


@pytest.fixture
async def alice(place: Place) -> AsyncIterator[Person]:
    async with run_hospital(place.dsn, place.folder, process={"media_store": place.media_store}) as hospital:
        yield await hospital.person()


async def test_all_is_well(place: Place, alice: Person) -> None:
    file = await uploaded(alice, image(), filename="planted name.jpg")
    assert (await thumbnail(alice, file)).status == 200
    for options in ((), ("--read",), ("--read", "--remove-orphans", "--forget-lost", "--server-name", SERVER)):
        result = await place.check(*options)
        assert result.exit_code == 0, result.output
        assert f"{SERVER}: 2 files in the database, 2 objects in the store\n" in result.stdout
        assert "nothing is lost" in result.stdout and "planted" not in result.output


async def test_what_is_lost_has_its_address_and_no_name(place: Place, alice: Person) -> None:
    file = await uploaded(alice, b"content", filename="planted name.jpg")
    await uploaded(alice, b"content")
    (lost,) = (path for path in place.objects() if path.stat().st_mtime_ns == min(map(_written, place.objects())))
    lost.unlink()
    result = await place.check()
    assert result.exit_code == 1
    assert f"missing\tupload\tmxc://{file}\t{lost.parent.name}/{lost.name}\n" in result.stdout
    assert f"{SERVER}: lost: upload 1\n" in result.stdout and "planted" not in result.output


def _written(path: Path) -> int:
    return path.stat().st_mtime_ns


async def test_what_can_be_had_anew_is_had_anew(place: Place, alice: Person) -> None:
    file = await uploaded(alice, image())
    before = set(place.objects())
    assert (await thumbnail(alice, file)).status == 200
    (small,) = set(place.objects()) - before
    small.write_bytes(small.read_bytes()[:-1] + b"x")
    assert (await thumbnail(alice, file)).status == 500
    assert (await place.check("--forget-lost")).exit_code == 0  # only who reads sees it
    result = await place.check("--read", "--forget-lost")
    assert result.exit_code == 1 and "altered\tthumbnail" in result.stdout and "forgotten" in result.stdout
    assert (await thumbnail(alice, file)).status == 200
    assert (await place.check("--read")).exit_code == 0


async def test_nothing_is_changed_unless_that_is_asked_for(place: Place, alice: Person) -> None:
    await uploaded(alice, b"content")
    orphan = place.put()
    async with open_tables(place.dsn) as tables, tables.unchanged():
        result = await place.check("--read")
    assert result.exit_code == 0, "nothing is lost"
    assert f"orphan\tnothing\t-\tab/{orphan.name}\n" in result.stdout
    assert "nothing refers to: 1 objects, 0.0 MB" in result.stdout
    assert orphan.exists()


async def test_orphans_are_removed_while_the_server_runs(place: Place, alice: Person) -> None:
    file = await uploaded(alice, b"content")
    await uploaded(alice, b"content")
    old, young = place.put(), place.put(name="00/" + "2" * 38, age_s=60)
    result = await place.check("--remove-orphans")
    assert result.exit_code == 0 and "1 objects are removed" in result.stdout, result.output
    assert "left aside: 1 objects, too young to tell" in result.stdout
    assert not old.exists() and young.exists()
    assert (await download(alice, file)).body == b"content"


async def test_of_another_database_s_files_none_are_removed(place: Place, alice: Person) -> None:
    await uploaded(alice, b"content")
    orphans = [place.put(name=f"ab/{number:038x}") for number in range(3)]
    result = await place.check("--remove-orphans")
    assert result.exit_code == 1 and "--remove-most" in result.stderr
    assert all(path.exists() for path in orphans)
    assert (await place.check("--remove-most")).exit_code == 0 and orphans[0].exists()
    result = await place.check("--remove-orphans", "--remove-most")
    assert result.exit_code == 0 and not any(path.exists() for path in orphans)


async def test_how_far_it_has_come_is_told(place: Place, alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    await uploaded(alice, b"content")
    assert "folder" not in (await place.check()).stderr
    monkeypatch.setattr(media_check, "PROGRESS_INTERVAL_S", 0.0)
    result = await place.check("--read")
    assert f"{SERVER}: folder ff of ff: 1 files, 1 objects" in result.stderr and "folder" not in result.stdout


async def test_another_master_key_is_told(place: Place, alice: Person) -> None:
    await uploaded(alice, b"content")
    assert (await place.check(master_key=new_key())).exit_code == EXIT_CONFIGURATION


async def test_in_a_bucket(make_tenant_dsn: MakeDsn, tmp_path: Path) -> None:
    async with run_s3() as s3:
        await s3.make_bucket(BUCKET)
        place = Place(await make_tenant_dsn(), tmp_path, {**MEDIA_STORE, "s3": s3.options(BUCKET)})
        async with run_hospital(place.dsn, tmp_path, process={"media_store": place.media_store}) as hospital:
            await in_a_bucket(place, s3, await hospital.person())


async def in_a_bucket(place: Place, s3: S3, alice: Person) -> None:
    file, behind = await uploaded(alice, b"content"), s3.look_into(BUCKET)
    result = await place.check("--read", "--remove-orphans", "--remove-most")
    assert result.exit_code == 0 and "1 files in the database, 1 objects in the store" in result.stdout
    (name,) = await names_in(behind)
    await obstore.delete_async(behind, name)
    await obstore.put_async(behind, f"{name.partition('/')[0]}/ab/{'1' * 38}", b"sealed once")
    result = await place.check()
    assert result.exit_code == 1 and f"missing\tupload\tmxc://{file}" in result.stdout
    assert "left aside: 1 objects, too young to tell" in result.stdout
    (port,) = free_ports(1)
    away = {**s3.options(BUCKET), "endpoint": f"http://127.0.0.1:{port}", "timeout_s": 1}
    result = await place.check(s3=away)
    assert result.exit_code == EXIT_UNAVAILABLE and "missing" not in result.stdout, result.output
    result = await place.check(s3={**s3.options(BUCKET), "bucket": "nowhere"})
    assert result.exit_code == EXIT_UNAVAILABLE and "missing" not in result.stdout, result.output
