"""The master key of files: the right one opens them, any other refuses to start."""

import base64
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.files import download, uploaded
from tests.people import Hospital, Person, run_hospital
from tim_server.cli.failures import EXIT_CONFIGURATION, exit_code_of
from tim_server.config.load import ConfigurationError

MakeDsn = Callable[[], Awaitable[str]]


def new_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def reach(hospital: Hospital, person: Person) -> Person:
    """The same person at a server that was started anew."""
    return Person(hospital.session, person.user_id, person.token, person.device_id)


async def test_the_key_is_made_at_the_first_start_and_kept(make_tenant_dsn: MakeDsn, tmp_path: Path) -> None:
    dsn, options = await make_tenant_dsn(), {"media_store": {}}
    async with run_hospital(dsn, tmp_path, process=options) as hospital:
        alice = await hospital.person()
        file = await uploaded(alice, b"content")
    path = tmp_path / "media.master.key"
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_text()
    async with run_hospital(dsn, tmp_path, process=options) as hospital:
        assert (await download(reach(hospital, alice), file)).body == b"content"
    assert path.read_text() == before


@pytest.mark.parametrize("what", ["lost", "another", "nonsense"])
async def test_a_file_that_holds_not_the_key_refuses_to_start(
    make_tenant_dsn: MakeDsn, tmp_path: Path, what: str
) -> None:
    dsn, options = await make_tenant_dsn(), {"media_store": {}}
    async with run_hospital(dsn, tmp_path, process=options):
        pass
    path = tmp_path / "media.master.key"
    path.unlink()
    if what != "lost":
        path.write_text(new_key() if what == "another" else "nonsense")
    with pytest.raises(ConfigurationError) as refusal:
        async with run_hospital(dsn, tmp_path, process=options):
            pass
    assert str(path) in str(refusal.value)
    assert exit_code_of(refusal.value) == EXIT_CONFIGURATION
    assert path.exists() == (what != "lost")  # no key is made that opens nothing


async def test_another_key_in_the_configuration_refuses_to_start(make_tenant_dsn: MakeDsn, tmp_path: Path) -> None:
    dsn = await make_tenant_dsn()
    async with run_hospital(dsn, tmp_path, process={"media_store": {"master_key": new_key()}}):
        pass
    wrong = new_key()
    with pytest.raises(ConfigurationError, match=r"media_store\.master_key.*hospital\.example") as refusal:
        async with run_hospital(dsn, tmp_path, process={"media_store": {"master_key": wrong}}):
            pass
    assert wrong not in str(refusal.value)


async def test_the_master_key_is_replaced_and_old_files_still_open(make_tenant_dsn: MakeDsn, tmp_path: Path) -> None:
    dsn, old, new = await make_tenant_dsn(), new_key(), new_key()
    async with run_hospital(dsn, tmp_path, process={"media_store": {"master_key": old}}) as hospital:
        alice = await hospital.person()
        file = await uploaded(alice, b"content")
    for store in ({"master_key": new, "former_master_key": old}, {"master_key": new}):
        async with run_hospital(dsn, tmp_path, process={"media_store": store}) as hospital:
            assert (await download(reach(hospital, alice), file)).body == b"content"
    with pytest.raises(ConfigurationError):
        async with run_hospital(dsn, tmp_path, process={"media_store": {"master_key": old}}):
            pass
