"""`tim-server keys rotate-media` and `keys rotate-master`: files from before still open."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from tests.app.test_media_keys import new_key, reach
from tests.files import download, uploaded
from tests.people import SERVER, Hospital, Person, run_hospital
from tim_server.app import master_key
from tim_server.cli import rotate_media_keys
from tim_server.cli.failures import EXIT_CONFIGURATION
from tim_server.cli.main import cli
from tim_server.config.load import ConfigurationError
from tim_server.config.settings import Settings

MakeDsn = Callable[[], Awaitable[str]]
KEPT_HERE = {"media_store": {}}


async def invoke(dsn: str, folder: Path, command: str, *, more: str = "") -> Result:
    config = folder / "tim.yaml"
    config.write_text(f"server_name: {SERVER}\ndata_dir: .\ndatabase:\n  dsn: {dsn}\n{more}")
    return await asyncio.to_thread(CliRunner().invoke, cli, ["keys", command, "--config", str(config)])


async def stored_keys(dsn: str) -> dict[int, bytes]:
    connection = await asyncpg.connect(dsn)
    try:
        return dict(await connection.fetch("SELECT number, sealed_key FROM media_keys"))
    finally:
        await connection.close()


async def expect(hospital: Hospital, person: Person, files: dict[str, bytes]) -> None:
    for file, content in files.items():
        assert (await download(reach(hospital, person), file)).body == content


async def test_files_of_all_keys_open(make_tenant_dsn: MakeDsn, tmp_path: Path) -> None:
    dsn, files = await make_tenant_dsn(), {}
    async with run_hospital(dsn, tmp_path, process=KEPT_HERE) as hospital:
        alice = await hospital.person()
        files[await uploaded(alice, b"first")] = b"first"
        result = await invoke(dsn, tmp_path, "rotate-media")
        assert result.exit_code == 0 and "number 2" in result.output, result.output
        files[await uploaded(alice, b"meanwhile")] = b"meanwhile"
    async with run_hospital(dsn, tmp_path, process=KEPT_HERE) as hospital:
        await expect(hospital, alice, files)
        files[await uploaded(reach(hospital, alice), b"second")] = b"second"
    assert (await stored_keys(dsn)).keys() == {1, 2}
    async with run_hospital(dsn, tmp_path, process=KEPT_HERE) as hospital:
        await expect(hospital, alice, files)
    connection = await asyncpg.connect(dsn)
    try:
        ids = {bytes(row["details"])[1:5] for row in await connection.fetch("SELECT details FROM media")}
        assert len(ids) == 2  # the new key is used, and the old rows are as they were
        assert await connection.fetchval("SELECT actor FROM audit_log WHERE action = 'media_key.rotate'")
    finally:
        await connection.close()


async def test_no_key_is_made_with_a_wrong_master_key(make_tenant_dsn: MakeDsn, tmp_path: Path) -> None:
    dsn = await make_tenant_dsn()
    async with run_hospital(dsn, tmp_path, process=KEPT_HERE):
        pass
    (tmp_path / "media.master.key").write_text(new_key())
    for command in ("rotate-media", "rotate-master"):
        result = await invoke(dsn, tmp_path, command)
        assert result.exit_code == EXIT_CONFIGURATION and "media.master.key" in result.output
    assert (await stored_keys(dsn)).keys() == {1}
    assert not (tmp_path / "media.master.key.old").exists()


async def test_the_master_key_is_replaced_while_the_server_runs(make_tenant_dsn: MakeDsn, tmp_path: Path) -> None:
    dsn, files = await make_tenant_dsn(), {}
    path, former = tmp_path / "media.master.key", tmp_path / "media.master.key.old"
    async with run_hospital(dsn, tmp_path, process=KEPT_HERE) as hospital:
        alice = await hospital.person()
        files[await uploaded(alice, b"first")] = b"first"
        before = path.read_text()
        result = await invoke(dsn, tmp_path, "rotate-master")
        assert result.exit_code == 0, result.output
        files[await uploaded(alice, b"second")] = b"second"
        await expect(hospital, alice, files)
    assert former.read_text() == before != path.read_text()
    assert path.stat().st_mode & 0o777 == former.stat().st_mode & 0o777 == 0o600
    again = await invoke(dsn, tmp_path, "rotate-master")
    assert again.exit_code != 0 and str(former) in again.output  # no key that a backup may need is lost
    former.unlink()
    async with run_hospital(dsn, tmp_path, process=KEPT_HERE) as hospital:
        await expect(hospital, alice, files)
    path.write_text(before)
    with pytest.raises(ConfigurationError):
        async with run_hospital(dsn, tmp_path, process=KEPT_HERE):
            pass


async def test_of_two_that_replace_the_master_key_at_once_one_does(
    make_tenant_dsn: MakeDsn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = await make_tenant_dsn()
    async with run_hospital(dsn, tmp_path, process=KEPT_HERE) as hospital:
        alice = await hospital.person()
        file = await uploaded(alice, b"first")
    replace = master_key.replace_master_key

    def after_another(settings: Settings) -> None:
        replace(settings)
        replace(settings)

    monkeypatch.setattr(rotate_media_keys, "replace_master_key", after_another)
    result = await invoke(dsn, tmp_path, "rotate-master")
    assert result.exit_code != 0 and "already" in result.output
    async with run_hospital(dsn, tmp_path, process=KEPT_HERE) as hospital:
        await expect(hospital, alice, {file: b"first"})


async def test_a_new_master_key_has_reached_the_disk_before_it_seals(
    make_tenant_dsn: MakeDsn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = await make_tenant_dsn()
    async with run_hospital(dsn, tmp_path, process=KEPT_HERE):
        pass
    done: list[str] = []
    rename, sync = Path.rename, os.fsync

    def noted_rename(path: Path, target: Path) -> Path:
        done.append(f"rename {target.name}")
        return rename(path, target)

    def noted_sync(file: int) -> None:
        done.append(f"sync {Path(f'/proc/self/fd/{file}').readlink()}")
        sync(file)

    monkeypatch.setattr(Path, "rename", noted_rename)
    monkeypatch.setattr(os, "fsync", noted_sync)
    assert (await invoke(dsn, tmp_path, "rotate-master")).exit_code == 0
    assert done[-2:] == ["rename media.master.key", f"sync {tmp_path}"]
    assert done.count(f"sync {tmp_path}") == 2  # for the former one, too


@pytest.mark.parametrize("ends", ["before the key is there", "before the key has sealed anything"])
async def test_a_replacement_that_was_killed_is_finished_by_the_next_start(
    make_tenant_dsn: MakeDsn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    dsn = await make_tenant_dsn()
    async with run_hospital(dsn, tmp_path, process=KEPT_HERE) as hospital:
        alice = await hospital.person()
        file = await uploaded(alice, b"first")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    if ends == "before the key is there":
        monkeypatch.setattr(Path, "rename", killed)
    else:
        replace = master_key.replace_master_key
        monkeypatch.setattr(rotate_media_keys, "replace_master_key", lambda settings: killed(replace(settings)))
    assert (await invoke(dsn, tmp_path, "rotate-master")).exit_code != 0
    monkeypatch.undo()
    for _ in range(2):  # the second time without the former key
        async with run_hospital(dsn, tmp_path, process=KEPT_HERE) as hospital:
            await expect(hospital, alice, {file: b"first"})
        (tmp_path / "media.master.key.old").unlink(missing_ok=True)


async def test_a_master_key_in_the_configuration_is_not_replaced(make_tenant_dsn: MakeDsn, tmp_path: Path) -> None:
    more = f"media_store:\n  master_key: {new_key()}\n"
    result = await invoke(await make_tenant_dsn(), tmp_path, "rotate-master", more=more)
    assert result.exit_code != 0 and "former_master_key" in result.output


def command_that(folder: Path, script: str) -> list[str]:
    path = folder / "unwrap"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return [str(path)]


async def test_a_command_may_know_the_master_key(make_tenant_dsn: MakeDsn, tmp_path: Path) -> None:
    dsn, key = await make_tenant_dsn(), new_key()
    process = {"media_store": {"master_key_command": command_that(tmp_path, f"echo {key}")}}
    async with run_hospital(dsn, tmp_path, process=process) as hospital:
        alice = await hospital.person()
        file = await uploaded(alice, b"content")
    async with run_hospital(dsn, tmp_path, process={"media_store": {"master_key": key}}) as hospital:
        await expect(hospital, alice, {file: b"content"})
    assert not (tmp_path / "media.master.key").exists()


@pytest.mark.parametrize(
    ("script", "reason"), [("exit 3", "status 3"), ("echo nonsense", "not a master key"), (None, "cannot be run")]
)
async def test_a_command_that_fails_refuses_to_start(
    make_tenant_dsn: MakeDsn, tmp_path: Path, script: str | None, reason: str
) -> None:
    command = [os.fspath(tmp_path / "none")] if script is None else command_that(tmp_path, script)
    with pytest.raises(ConfigurationError, match=f"master_key_command.*{reason}"):
        async with run_hospital(
            await make_tenant_dsn(), tmp_path, process={"media_store": {"master_key_command": command}}
        ):
            pass
