"""Commands that need no running server: configurations, migrations, accounts, help and exit codes."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import tim_server
from tim_server.cli.failures import EXIT_CONFIGURATION, EXIT_UNAVAILABLE
from tim_server.cli.main import cli
from tim_server.config.load import load_settings
from tim_server.storage.embedded import EmbeddedPostgres
from tim_server.storage.migrations import read_migrations

PASSWORD = "correct horse battery"


def invoke(*arguments: object, text: str | None = None) -> Result:
    """Run a command; an unexpected exception fails the test."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], input=text)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def config(tmp_path: Path, postgres: EmbeddedPostgres) -> Iterator[Path]:
    """A configuration on an empty schema in the PostgreSQL of the tests."""
    role = f"cli_{os.urandom(4).hex()}"
    dsn = asyncio.run(postgres.provision_tenant(role))
    path = tmp_path / "tim.yaml"
    path.write_text(
        f"server_name: clinic.example\ndata_dir: state\ndatabase: {{dsn: '{dsn}'}}\n"
        "passwords: {argon2_memory_kib: 8, argon2_time_cost: 1}\n"
    )
    yield path
    asyncio.run(postgres.drop_tenant(role))


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    return path


def test_help_names_all_commands() -> None:
    text = invoke("--help").output
    for command in ("serve", "demo", "migrate", "check-config", "generate-config", "rebuild-derived", "user"):
        assert command in text


def test_version() -> None:
    assert invoke("--version").output == f"tim-server {tim_server.__version__}\n"


def test_wrong_usage_has_exit_code_2() -> None:
    assert invoke("serve").exit_code == 2
    assert invoke("generate-config").exit_code == 2
    assert invoke("check-config").exit_code == 2
    assert invoke("serve", "--config", "x", "--workers", "0").exit_code == 2


def test_the_module_runs_as_well() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(tim_server.__file__).parent.parent)}
    command = [sys.executable, "-m", "tim_server", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == f"tim-server {tim_server.__version__}\n"


def test_a_generated_configuration_loads(tmp_path: Path) -> None:
    result = invoke("generate-config", "--server-name", "clinic.example", "--data-dir", tmp_path / "my data")
    path = tmp_path / "tim.yaml"
    path.write_text(result.output)
    settings = load_settings(path, {})
    assert settings.data_dir == tmp_path / "my data"
    assert [tenant.server_name for tenant in settings.tenants] == ["clinic.example"]
    assert settings.listeners[0].port == 8008
    assert settings.listeners[0].resources == ("client", "federation")
    assert settings.listeners[0].address == "127.0.0.1"
    assert settings.uses_embedded_postgres


@pytest.mark.parametrize("name", ["[::1]:8448", "10.0.0.1", "8.8"])
def test_names_that_yaml_could_misread_are_quoted(tmp_path: Path, name: str) -> None:
    path = tmp_path / "tim.yaml"
    path.write_text(invoke("generate-config", "--server-name", name, "--data-dir", tmp_path).output)
    assert load_settings(path, {}).tenants[0].server_name == name


def test_a_name_that_no_server_can_have_is_refused(tmp_path: Path) -> None:
    result = invoke("generate-config", "--server-name", "my clinic", "--data-dir", tmp_path)
    assert result.exit_code == 1
    assert "'my clinic' is not a server name" in result.output


def test_all_options_are_printed_and_load(tmp_path: Path) -> None:
    path = tmp_path / "tim.yaml"
    path.write_text(invoke("generate-config", "--all-options").output)
    assert load_settings(path, {})


def test_check_config_says_what_a_right_configuration_does(config: Path) -> None:
    result = invoke("check-config", config)
    assert result.exit_code == 0
    assert "homeserver clinic.example: data in PostgreSQL of its own" in result.output
    assert "http://127.0.0.1:8008 for client, federation" in result.output
    assert invoke("check-config", "--config", config).output == result.output


def test_check_config_gives_file_line_key_and_reason(config: Path) -> None:
    config.write_text(config.read_text() + "wrokers: 2\n")
    result = invoke("check-config", config)
    assert result.exit_code == EXIT_CONFIGURATION
    assert result.output == f"tim-server: {config}:5: wrokers: there is no such option; did you mean workers?\n"


@pytest.mark.parametrize("command", [("serve", "--config"), ("migrate", "--config"), ("user", "list", "--config")])
def test_no_command_shows_a_trace_for_a_wrong_configuration(tmp_path: Path, command: tuple[str, ...]) -> None:
    path = tmp_path / "tim.yaml"
    path.write_text("server_name: [\n")
    result = invoke(*command, path)
    assert result.exit_code == EXIT_CONFIGURATION
    assert result.output.startswith(f"tim-server: {path}:2: is not YAML")


def test_check_config_looks_at_certificates_and_keys(config: Path, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "clinic.example.signing.key").write_text("broken")
    (tmp_path / "c.pem").write_text("no certificate")
    config.write_text(
        config.read_text()
        + "listeners:\n- tls: {certificate: c.pem, private_key: none.pem}\n"
        + "- {port: 9, tls: {certificate: c.pem, private_key: c.pem}}\n"
        + "federation: {ca_file: none.pem}\n"
    )
    result = invoke("check-config", config)
    assert result.exit_code == EXIT_CONFIGURATION
    assert f"listeners.0.tls: no file {tmp_path / 'none.pem'}" in result.output
    assert "listeners.1.tls: certificate and key cannot be used" in result.output
    assert "is not a signing key" in result.output
    assert "federation.ca_file: no file" in result.output


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("listeners:\n- tls: {certificate: none.pem, private_key: none.pem}\n", "listeners.0.tls: no file"),
        ("federation: {ca_file: c.pem}\n", "c.pem cannot be used"),
        ("data_dir: c.pem\n", "c.pem is not a folder"),
    ],
)
@pytest.mark.parametrize("command", ["check-config", "serve"])
def test_files_that_cannot_be_used_are_told_before_anything_starts(
    config: Path, tmp_path: Path, command: str, text: str, reason: str
) -> None:
    (tmp_path / "c.pem").write_text("no certificate")
    lines = [line for line in config.read_text().splitlines() if not line.startswith(text.partition(":")[0] + ":")]
    config.write_text("\n".join(lines) + "\n" + text)
    result = invoke(command, "--config", config)
    assert result.exit_code == EXIT_CONFIGURATION
    assert result.output.startswith("tim-server: ") and reason in result.output


def test_migrate_tells_what_it_did(config: Path) -> None:
    names = [migration.name for migration in read_migrations()]
    check = invoke("migrate", "--config", config, "--check")
    assert check.exit_code == 1
    assert check.output.splitlines() == [f"clinic.example: missing {name}" for name in names]
    first = invoke("migrate", "--config", config)
    assert first.output.splitlines() == [f"clinic.example: applied {name}" for name in names]
    again = invoke("migrate", "--config", config)
    assert (again.exit_code, again.output) == (0, "clinic.example: up to date\n")
    assert invoke("migrate", "--config", config, "--check").exit_code == 0


def test_rebuild_derived_tells_what_it_mended(config: Path) -> None:
    result = invoke("rebuild-derived", "--config", config)
    assert (result.exit_code, result.output) == (0, "clinic.example: 0 rows of 0 rooms, nothing had to be mended\n")


def test_an_unreachable_database_is_told_in_one_line(config: Path) -> None:
    config.write_text("server_name: a.org\ndata_dir: .\ndatabase: {dsn: 'postgresql://tim:geheim@127.0.0.1:1/tim'}\n")
    result = invoke("migrate", "--config", config)
    assert result.exit_code == EXIT_UNAVAILABLE
    assert result.output.startswith("tim-server: the database cannot be reached: ")
    assert "geheim" not in result.output


def test_accounts_are_made_listed_and_get_new_passwords(config: Path, password_file: Path) -> None:
    made = invoke("user", "create", "Alice", "--config", config, "--admin", "--password-file", password_file)
    assert (made.exit_code, made.output) == (0, "@alice:clinic.example created as an administrator\n")
    asked = invoke("user", "create", "@bob:clinic.example", "--config", config, text=f"{PASSWORD}\n{PASSWORD}\n")
    assert asked.output.endswith("@bob:clinic.example created\n")
    assert PASSWORD not in asked.output
    rows = [line.split("\t") for line in invoke("user", "list", "--config", config).output.splitlines()]
    assert [(row[0], row[2]) for row in rows] == [
        ("@alice:clinic.example", "administrator"),
        ("@bob:clinic.example", ""),
    ]
    reset = invoke("user", "reset-password", "bob", "--config", config, "--password-file", "-", text="another one!\n")
    assert (reset.exit_code, reset.output) == (0, "@bob:clinic.example has a new password\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("create", "alice"), "The user ID is taken"),
        (("create", "not allowed"), "A user name may have"),
        (("create", "@alice:elsewhere.example"), "is not a user of clinic.example"),
        (("create", "@alice"), "is not a user id"),
        (("reset-password", "nobody"), "There is no such active account"),
        (("create", "bob", "--server-name", "elsewhere.example"), "there is no homeserver elsewhere.example"),
    ],
)
def test_what_cannot_be_done_with_accounts_is_told(
    config: Path, password_file: Path, arguments: tuple[str, ...], reason: str
) -> None:
    invoke("user", "create", "alice", "--config", config, "--password-file", password_file)
    result = invoke("user", *arguments, "--config", config, "--password-file", password_file)
    assert result.exit_code == 1
    assert result.output.startswith("tim-server: ")
    assert reason in result.output


def test_weak_passwords_and_missing_password_files_are_told(config: Path, tmp_path: Path) -> None:
    weak = invoke("user", "create", "alice", "--config", config, text="short\nshort\n")
    assert weak.exit_code == 1
    assert "must have at least 8 characters" in weak.output
    missing = invoke("user", "create", "alice", "--config", config, "--password-file", tmp_path / "none")
    assert missing.exit_code == 1
    assert "cannot be read: No such file or directory" in missing.output


def test_of_several_homeservers_one_must_be_named(tmp_path: Path) -> None:
    path = tmp_path / "tim.yaml"
    path.write_text("data_dir: .\ntenants: [{server_name: a.org}, {server_name: b.org}]\n")
    result = invoke("user", "list", "--config", path)
    assert result.exit_code == 1
    assert "say which homeserver with --server-name: a.org, b.org" in result.output
