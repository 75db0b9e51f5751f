"""Reading the configuration: files, environment, secrets, and what is said about mistakes."""

import stat
from pathlib import Path
from typing import Any

import pytest

from tim_server.config.load import ConfigurationError, load_settings
from tim_server.config.settings import Settings
from tim_server.config.signing_key import ensure_signing_key, read_signing_key

MINIMAL = "server_name: example.org\ndata_dir: /data\n"


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write_file(text: str, name: str = "tim.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_file


def load(path: Path, **environment: str) -> Settings:
    return load_settings(path, environment)


def problems(path: Path, **environment: str) -> list[str]:
    """What is wrong, each line without the path of the file."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path, environment)
    return [line.removeprefix(str(path)) for line in str(caught.value).splitlines()]


def test_server_name_and_data_dir_are_enough(write: Any) -> None:
    settings = load(write(MINIMAL))
    assert [tenant.server_name for tenant in settings.tenants] == ["example.org"]
    assert settings.uses_embedded_postgres
    assert not settings.tenants[0].registration.enabled
    assert settings.tenants[0].rooms.default_version == "12"
    assert (settings.listeners[0].address, settings.listeners[0].port) == ("127.0.0.1", 8008)


def test_registration_is_closed_and_old_habits_are_off_by_default(write: Any) -> None:
    tenant = load(write(MINIMAL)).tenants[0]
    assert not tenant.registration.enabled
    assert tenant.registration.requires_token
    assert tenant.registration.shared_secret is None
    assert not tenant.compatibility.access_token_in_query
    assert not tenant.compatibility.r0_paths


def test_settings_cannot_be_changed(write: Any) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(write(MINIMAL)).workers = 2


def test_several_tenants_each_with_a_database_of_their_own(write: Any) -> None:
    path = write(
        "data_dir: /data\ntenants:\n- server_name: a.org\n- server_name: b.org\n  database: {dsn: 'postgresql://b@/db'}\n"
    )
    a, b = load(path).tenants
    assert a.database.dsn is None
    assert b.database.dsn is not None
    assert b.database.dsn.get_secret_value() == "postgresql://b@/db"
    assert a.database_role != b.database_role


def test_database_of_a_single_tenant_stands_with_that_of_the_process(write: Any) -> None:
    settings = load(write(MINIMAL + "database: {dsn: 'postgresql://a:b@h/db', pool_size_max: 3}\n"))
    assert settings.database.pool_size_max == 3
    assert settings.tenants[0].database.dsn is not None
    assert not settings.uses_embedded_postgres


def test_relative_paths_start_from_the_folder_of_the_file(write: Any, tmp_path: Path) -> None:
    settings = load(write("server_name: example.org\ndata_dir: state\n"))
    assert settings.data_dir == tmp_path / "state"
    assert settings.embedded_postgres_folder == tmp_path / "state" / "postgresql"
    assert settings.signing_key_path(settings.tenants[0]) == tmp_path / "state" / "example.org.signing.key"


def test_a_section_with_all_its_options_commented_out_is_a_section_of_defaults(write: Any) -> None:
    assert load(write(MINIMAL + "sealing:\nrate_limits:\ndatabase:\n")) == load(write(MINIMAL, "other.yaml"))


def test_environment_overrides_the_file(write: Any) -> None:
    settings = load(
        write(MINIMAL + "workers: 2\n"),
        TIM_SERVER__WORKERS="3",
        TIM_SERVER__REGISTRATION__ENABLED="true",
        TIM_SERVER__LISTENERS__0__PORT="9000",
        TIM_SERVER__DATABASE__DSN="postgresql://x:y@h/d",
        OTHER="1",
    )
    assert settings.workers == 3
    assert settings.tenants[0].registration.enabled
    assert [listener.port for listener in settings.listeners] == [9000]
    assert settings.tenants[0].database.dsn is not None


def test_environment_overrides_one_of_several_tenants(write: Any) -> None:
    path = write("data_dir: /d\ntenants: [{server_name: a.org}, {server_name: b.org}]\n")
    settings = load(path, TIM_SERVER__TENANTS__1__REGISTRATION__ENABLED="true")
    assert [tenant.registration.enabled for tenant in settings.tenants] == [False, True]


@pytest.mark.parametrize("place", ["h", "h:5432", "[::1]:5432", "a:1,b:2", "", "%2Frun%2Fpostgresql"])
def test_a_dsn_may_name_any_place_that_postgresql_is_at(write: Any, place: str) -> None:
    assert load(write(MINIMAL + f"database: {{dsn: 'postgresql://a:b%40@{place}/db'}}\n"))


def test_secrets_come_from_files_and_are_not_shown(write: Any) -> None:
    write("geheim\n", "secret")
    settings = load(write(MINIMAL + "registration: {shared_secret_file: secret}\n"))
    secret = settings.tenants[0].registration.shared_secret
    assert secret is not None
    assert secret.get_secret_value() == "geheim"
    assert "geheim" not in repr(settings)


def test_secret_files_that_are_missing_empty_or_given_twice_are_told(write: Any) -> None:
    write("", "empty")
    for options, reason in (
        ("{shared_secret_file: none}", "cannot be read: No such file or directory"),
        ("{shared_secret_file: empty}", "is empty"),
        ("{shared_secret_file: empty, shared_secret: x}", "give either shared_secret or shared_secret_file"),
    ):
        (line,) = problems(write(MINIMAL + f"registration: {options}\n"))
        assert line.startswith(":3: registration: ")
        assert line.endswith(reason)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server_name: example.org\n", ": data_dir: is required"),
        ("data_dir: /data\n", ": server_name: is required"),
        (MINIMAL + "wrokers: 2\n", ":3: wrokers: there is no such option; did you mean workers?"),
        (
            MINIMAL + "registration:\n  enabeld: true\n",
            ":4: registration.enabeld: there is no such option; did you mean enabled?",
        ),
        (
            MINIMAL + "shared_secret: x\n",
            ":3: shared_secret: there is no such option; did you mean registration.shared_secret?",
        ),
        (MINIMAL + "database: {ds: x}\n", ":3: database.ds: there is no such option; did you mean dsn?"),
        (MINIMAL + "zzz: 1\n", ":3: zzz: there is no such option"),
        (MINIMAL + "workers: many\n", ":3: workers: should be a valid integer, unable to parse string as an integer"),
        (MINIMAL + "workers: 0\n", ":3: workers: should be greater than or equal to 1"),
        (MINIMAL + "workers: 1\nworkers: 2\n", ":4: workers: stands here for the second time"),
        (
            MINIMAL + "listeners:\n- port: 1\n- port: 70000\n",
            ":5: listeners.1.port: should be less than or equal to 65535",
        ),
        (
            MINIMAL + "listeners: [{resources: [client, metrics]}]\n",
            ":3: listeners.0: health and metrics need a listener of their own, apart from client and federation",
        ),
        (
            MINIMAL + "listeners: [{}, {}]\n",
            ": two listeners have the same address and port",
        ),
        (
            MINIMAL + "database: {dsn: 'mysql://x@y/z'}\n",
            ":3: database.dsn: must have the form postgresql://role:password@host:port/database",
        ),
        (
            MINIMAL + "database: {dsn: 'postgresql://x:y@z:abc/d'}\n",
            ":3: database.dsn: must have the form postgresql://role:password@host:port/database",
        ),
        (
            MINIMAL + "database: {dsn: 'postgresql://x:y@[::1/d'}\n",
            ":3: database.dsn: must have the form postgresql://role:password@host:port/database",
        ),
        ("[" * 5000 + "\n", ": is not YAML: nested too deeply, or within itself"),
        ("tenants: &again\n- *again\n", ": is not YAML: nested too deeply, or within itself"),
        (MINIMAL + "rooms: {default_version: 13}\n", ":3: rooms.default_version: not one of the room versions"),
        (MINIMAL + "sealing: {key: abcd}\n", ":3: sealing.key: must be 32 bytes in Base64"),
        (MINIMAL + "federation: {hosts: {b.org: nowhere}}\n", ":3: federation.hosts.b.org: not an address and port"),
        (MINIMAL + "rate_limits: {exempt_users: [alice]}\n", ":3: rate_limits.exempt_users.0: not a UserId"),
        (
            MINIMAL + "well_known: {client_base_url: example.org}\n",
            ":3: well_known.client_base_url: not an http or https URL",
        ),
        (
            "data_dir: /d\ntenants: [{server_name: a.org, well_known: {client_base_url: 'https://m.example/x'}},"
            "{server_name: b.org, well_known: {server: M.example}}]\n",
            ": two tenants have the same host: their server_name, or an address in well_known",
        ),
        (
            "data_dir: /d\ntenants: [{server_name: a.org}, {server_name: A.org}]\n",
            ": two tenants have the same server_name",
        ),
        (
            "data_dir: /d\nserver_name: a.org\ntenants: [{server_name: b.org}]\n",
            ":2: server_name: there is no such option",
        ),
        ("server_name: [\n", ":2: is not YAML: "),
        ("- a\n", ": must hold options of the form name: value"),
    ],
)
def test_a_mistake_is_told_with_line_key_and_reason(write: Any, text: str, expected: str) -> None:
    (line,) = problems(write(text))
    assert line.startswith(expected)


def test_all_mistakes_are_told_at_once(write: Any) -> None:
    assert len(problems(write("data_dir: /d\nworkers: x\nzzz: 1\n"))) == 3


def test_a_wrong_variable_is_told_by_its_name(write: Any) -> None:
    path = write(MINIMAL)
    assert problems(path, TIM_SERVER__WORKERS="x")[0].startswith("TIM_SERVER__WORKERS: workers: should be")
    assert problems(path, TIM_SERVER__ROOM__X="1") == [
        "TIM_SERVER__ROOM__X: room: there is no such option; did you mean rooms?"
    ]


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    assert problems(tmp_path / "none.yaml") == [": cannot be read: No such file or directory"]


def test_secrets_do_not_show_in_what_is_told(write: Any) -> None:
    (line,) = problems(write(MINIMAL + "database: {dsn: 'mysql://geheim@y/z'}\n"))
    assert "geheim" not in line


def test_health_and_metrics_take_a_port_for_each_worker(write: Any) -> None:
    public, inner = load(write(MINIMAL)).listeners
    assert [public.port_of(1), inner.port_of(0), inner.port_of(1)] == [8008, inner.port, inner.port + 1]


def test_switched_off_rate_limits_leave_no_bucket(write: Any) -> None:
    assert set(load(write(MINIMAL)).tenants[0].rate_limits.buckets()) >= {"default", "login", "send"}
    assert load(write(MINIMAL + "rate_limits: {enabled: false}\n")).tenants[0].rate_limits.buckets() == {}


def test_dsns_are_filled_in_by_server_name(write: Any) -> None:
    settings = load(write("data_dir: /d\ntenants: [{server_name: a.org}, {server_name: b.org}]\n"))
    filled = settings.with_dsns({settings.tenants[0].server_name: "postgresql://a@/d"})
    assert [tenant.database.dsn is None for tenant in filled.tenants] == [False, True]


def test_a_signing_key_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "example.org.signing.key"
    key = ensure_signing_key(path)
    assert key.key_id.startswith("ed25519:a_")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ensure_signing_key(path).verify_key == key.verify_key
    assert list(path.parent.iterdir()) == [path]


def test_a_signing_key_of_another_server_software_is_read(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    path.write_text("ed25519 a_RXGa l8Hft5qXKn1vfHrg3p4+W8gELQVo8N13JkluMfmn2sQ\n")
    assert read_signing_key(path).key_id == "ed25519:a_RXGa"


@pytest.mark.parametrize(
    "text", ["", "ed25519 a", "ed25519 a_1 YWJj", "rsa a_1 l8Hft5qXKn1vfHrg3p4+W8gELQVo8N13JkluMfmn2sQ"]
)
def test_a_damaged_signing_key_is_told_without_showing_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "signing.key"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="is not a signing key") as caught:
        ensure_signing_key(path)
    assert "YWJj" not in str(caught.value)
