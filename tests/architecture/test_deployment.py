"""Image, compose file and proxy fit together and to the configuration; checked without an engine."""

import ipaddress
import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.architecture.dockerfile import Instruction, copied_from_context, is_shown_to_the_build, read_dockerfile
from tests.architecture.sources import ROOT
from tim_server.config.load import load_settings
from tim_server.config.settings import Settings

COMPOSE_CONFIG = ROOT / "config/compose/tim-server.yaml"
SERVICE_KEYS = frozenset(
    {
        *("build", "cap_drop", "depends_on", "environment", "healthcheck", "image", "networks", "ports", "read_only"),
        *("restart", "secrets", "security_opt", "shm_size", "stop_grace_period", "tmpfs", "volumes"),
    }
)
SHELL_SCRIPTS = (".ci/run", ".ci/pin", "config/compose/create-role.sh")


@cache
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return document


@cache
def dockerfile() -> tuple[Instruction, ...]:
    return tuple(read_dockerfile((ROOT / "Dockerfile").read_text(encoding="utf-8")))


def of_last_stage(name: str) -> Instruction:
    return [entry for entry in dockerfile() if entry.name == name and entry.stage == dockerfile()[-1].stage][-1]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The configuration that the compose file gives to tim-server, with a secret and a name filled in."""
    secret = tmp_path / "tim_dsn"
    secret.write_text("postgresql://tim:secret@postgres:5432/tim\n")
    text = COMPOSE_CONFIG.read_text(encoding="utf-8").replace("/run/secrets/tim_dsn", str(secret))
    path = tmp_path / "tim-server.yaml"
    path.write_text(text)
    given = compose()["services"]["tim-server"]["environment"]
    environment = {name: re.sub(r"\$\{SERVER_NAME[^}]*\}", "hospital.example", value) for name, value in given.items()}
    return load_settings(path, environment)


@pytest.mark.parametrize("script", SHELL_SCRIPTS)
def test_shell_scripts_parse_and_can_be_run(script: str) -> None:
    finished = subprocess.run(["bash", "-n", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert (ROOT / script).stat().st_mode & 0o100, f"chmod +x {script}"


def test_the_image_has_two_stages_and_copies_what_exists() -> None:
    dockerignore = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    assert [entry.stage for entry in dockerfile() if entry.name == "FROM"] == [1, 2]
    for entry in (entry for entry in dockerfile() if entry.name == "COPY"):
        for source in copied_from_context(entry):
            assert (ROOT / source).exists(), f"Dockerfile:{entry.line}: no such file: {source}"
            assert is_shown_to_the_build(source, dockerignore), f"Dockerfile:{entry.line}: .dockerignore hides {source}"


def test_the_image_installs_pinned_requirements_with_hashes() -> None:
    installs = [
        command
        for entry in dockerfile()
        if entry.name == "RUN"
        for command in entry.text.split("&&")
        if "pip install" in command
    ]
    bare = [command for command in installs if "--require-hashes" not in command and "--no-index" not in command]
    assert installs and not bare, f"Dockerfile: install with --require-hashes, or the built wheel alone: {bare}"


def test_the_image_runs_as_an_ordinary_user() -> None:
    user = of_last_stage("USER").text.partition(":")[0]
    assert user.isdigit() and int(user) >= 1000, "Dockerfile: give USER a number above 999"


@pytest.mark.parametrize("name", ["ENTRYPOINT", "CMD", "VOLUME"])
def test_the_image_uses_the_exec_form(name: str) -> None:
    words = json.loads(of_last_stage(name).text)
    assert words and all(isinstance(word, str) for word in words)


def test_shell_of_the_image_parses() -> None:
    for entry in (entry for entry in dockerfile() if entry.name == "RUN"):
        finished = subprocess.run(["sh", "-n", "-c", entry.text], capture_output=True, text=True, check=False)
        assert finished.returncode == 0, f"Dockerfile:{entry.line}: {finished.stderr}"


def test_the_image_exposes_the_ports_of_the_configuration(settings: Settings) -> None:
    ports = {listener.port for listener in settings.listeners}
    assert {int(port) for port in of_last_stage("EXPOSE").text.split()} == ports


def health_port(command: list[str]) -> int:
    """The port that a health check of tim-server asks; its Python must compile."""
    compile(command[-1], "healthcheck", "exec")
    found = re.search(r"http://127\.0\.0\.1:(\d+)/(?:health|ready)", command[-1])
    assert found, f"not a check of /health or /ready: {command}"
    return int(found[1])


def test_health_checks_ask_the_listener_for_health(settings: Settings) -> None:
    listening = {listener.port for listener in settings.listeners if "health" in listener.resources}
    in_image = json.loads(of_last_stage("HEALTHCHECK").text.partition("CMD ")[2])
    in_compose = compose()["services"]["tim-server"]["healthcheck"]["test"]
    assert in_compose[0] == "CMD"
    assert {health_port(in_image), health_port(in_compose)} == listening


def test_services_use_known_keys_and_are_checked() -> None:
    for name, service in compose()["services"].items():
        unknown = set(service) - SERVICE_KEYS
        assert not unknown, f"docker-compose.yml: {name}: {unknown}: a typing error, or add it to SERVICE_KEYS"
        assert service["healthcheck"]["test"][0] == "CMD", f"docker-compose.yml: {name}: no health check"
        for other, condition in service.get("depends_on", {}).items():
            assert "healthcheck" in compose()["services"][other]
            assert condition == {"condition": "service_healthy"}


def test_services_use_declared_networks_volumes_and_secrets() -> None:
    document = compose()
    for name, service in document["services"].items():
        assert set(service.get("networks", [])) <= set(document["networks"]), name
        assert set(service.get("secrets", [])) <= set(document["secrets"]), name
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (ROOT / source).is_file(), f"docker-compose.yml: {name}: no such file: {source}"
                assert volume.endswith(":ro"), f"docker-compose.yml: {name}: mount {source} read-only"
            else:
                assert source in document["volumes"], f"docker-compose.yml: {name}: declare the volume {source}"


def test_secrets_are_ignored_by_git_and_explained() -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    guide = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    for name, secret in compose()["secrets"].items():
        path = secret["file"].removeprefix("./")
        assert f"{path.rpartition('/')[0]}/" in ignored, f".gitignore: {path}"
        assert path in guide, f"docs/operations.md: say how to make the secret {name}"


def test_only_the_proxy_is_reached_from_outside() -> None:
    published = {name for name, service in compose()["services"].items() if service.get("ports")}
    assert published == {"proxy"}
    assert compose()["networks"]["database"]["internal"] is True
    assert "web" not in compose()["services"]["postgres"]["networks"]


def test_the_proxy_leads_to_the_public_listener(settings: Settings) -> None:
    caddyfile = (ROOT / "config/compose/Caddyfile").read_text(encoding="utf-8")
    assert caddyfile.count("{") == caddyfile.count("}"), "config/compose/Caddyfile: braces"
    public = {listener.port for listener in settings.listeners if listener.is_public}
    assert {int(port) for port in re.findall(r"reverse_proxy tim-server:(\d+)", caddyfile)} == public
    used = set(re.findall(r"\{\$(\w+)\}", caddyfile))
    assert used == set(compose()["services"]["proxy"]["environment"]), "the proxy's environment"
    waits = re.search(r"response_header_timeout (\d+)s", caddyfile)
    assert waits and int(waits[1]) * 1000 > settings.limits.sync_timeout_ms_max, "a sync waits longer than the proxy"


def test_the_proxys_network_is_trusted(settings: Settings) -> None:
    subnet = ipaddress.ip_network(compose()["networks"]["web"]["ipam"]["config"][0]["subnet"])
    trusted = [listener.trusted_proxies for listener in settings.listeners if listener.is_public]
    assert trusted == [(str(subnet),)]


def test_docker_waits_for_a_graceful_end(settings: Settings) -> None:
    grace = compose()["services"]["tim-server"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > settings.limits.shutdown_timeout_s


def test_the_compose_configuration_uses_the_database_of_the_compose_file(settings: Settings) -> None:
    assert [str(tenant.server_name) for tenant in settings.tenants] == ["hospital.example"]
    assert not settings.uses_embedded_postgres
    volumes = compose()["services"]["tim-server"]["volumes"]
    assert any(volume.endswith(f":{settings.data_dir}") for volume in volumes), "data_dir is not on a volume"


@pytest.mark.parametrize("text", ["RUN true\n", "FROM a\nRUNN true\n", "FROM a\nRUN true \\\n"])
def test_a_malformed_dockerfile_is_found(text: str) -> None:
    with pytest.raises(ValueError, match=r"Dockerfile:\d"):
        read_dockerfile(text)


def test_passwords_are_no_arguments_of_programs() -> None:
    script = (ROOT / "config/compose/create-role.sh").read_text(encoding="utf-8")
    assert "\\getenv password" in script
    assert "password=" not in script.replace("TENANT_PASSWORD=", "")
