"""`tim-server keys rotate`."""

import time
from pathlib import Path

from typer.testing import CliRunner

from tim_server.cli.main import cli
from tim_server.cli.rotate_keys import RESTART_MINUTES
from tim_server.config.signing_key import ensure_signing_key, read_old_keys, read_signing_key


def test_the_former_key_is_good_until_the_server_is_restarted(tmp_path: Path) -> None:
    config, path = tmp_path / "tim.yaml", tmp_path / "state" / "clinic.example.signing.key"
    config.write_text("server_name: clinic.example\ndata_dir: state\n")
    former = ensure_signing_key(path)
    result = CliRunner().invoke(cli, ["keys", "rotate", "--config", str(config)])
    assert result.exit_code == 0, result.output
    new = read_signing_key(path)
    assert new.key_id != former.key_id and new.key_id in result.output
    (old,) = read_old_keys(path).values()
    left_ms = old.valid_until_ts - time.time() * 1000
    assert old.verify_key == former.verify_key
    assert (RESTART_MINUTES - 1) * 60_000 < left_ms <= RESTART_MINUTES * 60_000


def test_without_a_key_there_is_none_to_replace(tmp_path: Path) -> None:
    config = tmp_path / "tim.yaml"
    config.write_text("server_name: clinic.example\ndata_dir: state\n")
    result = CliRunner().invoke(cli, ["keys", "rotate", "--config", str(config)])
    assert result.exit_code != 0 and "signing key cannot be read" in result.output
