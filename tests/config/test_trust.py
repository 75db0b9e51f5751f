"""What is said about a section `trust` that can't be right, before the server starts."""

from pathlib import Path
from typing import Any

import pytest

from tests.config.test_load import load, problems
from tim_server.trust.profiles import Profile

BASE = "server_name: example.org\ndata_dir: /data\n"
SOURCES = "  sources: {directory: {urls: ['https://directory.example/d'], anchors_file: circle.pem}}\n"
CERTIFICATES = "  certificates: {anchors_file: circle.pem}\n"
DIRECTORY = f"{BASE}trust:\n  profile: directory\n{SOURCES}{CERTIFICATES}"
FEDERATION_TLS = (
    "listeners: [{port: 8448, resources: [federation], "
    "tls: {certificate: c.pem, private_key: k.pem, request_client_certificates: true}}]\n"
)


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write_file(text: str) -> Path:
        path = tmp_path / "tim.yaml"
        path.write_text(text)
        return path

    return write_file


def test_without_the_section_the_profile_is_open(write: Any) -> None:
    assert load(write(BASE)).tenants[0].trust.profile is Profile.OPEN


def test_a_circle_of_trust_is_configured(write: Any) -> None:
    trust = load(write(DIRECTORY)).tenants[0].trust
    assert trust.sources.directory.anchors_file == write(DIRECTORY).parent / "circle.pem"
    assert (trust.certificates.revocation, trust.sources.directory.refresh_interval_s) == ("required", 300)


@pytest.mark.parametrize("profile", ["tim-pro", "tim-epa", "timplus", "hipaa"])
def test_profiles_of_later_releases_are_named_as_such(write: Any, profile: str) -> None:
    (line,) = problems(write(f"{BASE}trust: {{profile: {profile}}}\n"))
    assert line.endswith(
        f"trust.profile: the profile {profile} is not part of this release, only open and directory are"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{BASE}trust: {{profile: strict}}\n", "trust.profile: should be"),
        (f"{BASE}trust: {{profile: directory}}\n", "needs urls and anchors_file in sources.directory"),
        (f"{BASE}trust:\n  profile: directory\n{SOURCES}", "needs certificates.anchors_file"),
        (f"{BASE}trust: {{mutual_tls: {{required: true}}}}\n", "asks for no certificates"),
        (f"{DIRECTORY}  mutual_tls: {{required: true}}\n", "takes a listener for federation"),
        (f"{DIRECTORY}  mutual_tls: {{certificate: c.pem}}\n", "needs both certificate and private_key"),
        (f"{BASE}{FEDERATION_TLS.replace('[federation]', '[client, federation]')}", "for federation only"),
        (DIRECTORY.replace("circle.pem}\n", "circle.pem, revocation_hosts: ['http://x/']}\n"), "not a host"),
        (DIRECTORY.replace("https://directory.example/d", "ftp://x/d"), "not an http or https URL"),
    ],
)  # fmt: skip
def test_what_can_not_be_right_is_told(write: Any, text: str, reason: str) -> None:
    assert reason in problems(write(text))[0]


@pytest.mark.parametrize(
    "listeners",
    [FEDERATION_TLS, "listeners: [{port: 8008, client_certificate_header: Client-Cert}]\n"],
    ids=["natively", "behind a proxy"],
)
def test_mutual_tls_takes_a_listener_for_it(write: Any, listeners: str) -> None:
    settings = load(write(f"{DIRECTORY}  mutual_tls: {{required: true}}\n{listeners}"))
    assert settings.listeners[0].takes_client_certificates
