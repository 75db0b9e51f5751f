"""`tim-server trust authority …`: a circle of trust is founded, run, and served, from the command line."""

import contextlib
import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import Result

import tim_server
from tests.certificates import make_ca, make_certificate
from tests.cli.test_commands import invoke
from tim_server.cli.failures import EXIT_CONFIGURATION, EXIT_UNAVAILABLE
from tim_server.trust.certificates import certificate_sha256, public_key_sha256
from tim_server.trust.publication import DIRECTORY_PATH

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(tim_server.__file__).parent.parent)}
SERVING = re.compile(r"serving on (https?)://127\.0\.0\.1:([0-9]+)")


@dataclass
class Site:
    """The authority's folder."""

    folder: Path

    def run(self, command: str, *arguments: object) -> Result:
        return invoke("trust", "authority", command, "--folder", self.folder, *arguments)

    def ok(self, command: str, *arguments: object) -> str:
        """What a command prints that must succeed."""
        result = self.run(command, *arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def refused(self, command: str, *arguments: object) -> str:
        """What a command complains about."""
        result = self.run(command, *arguments)
        assert result.exit_code != 0
        return result.output


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path / "authority")
    site.ok("init", "--name", "Hospitals of the North", "--url", "https://trust.example")
    return site


def test_a_circle_is_founded_in_five_commands(tmp_path: Path) -> None:
    site = Site(tmp_path / "circle")
    assert "fingerprint" in site.ok("init", "--name", "Hospitals of the North", "--url", "https://trust.example")
    assert "st-mary.example is added" in site.ok("add", "--name", "St Mary's", "--issue", "st-mary.example")
    site.ok("add", "--name", "City Hospital", "--issue", "city.example")
    assert "version 1 is signed; members: 2" in site.ok("sign")
    with serving(site) as server:
        status, body = server.get(DIRECTORY_PATH)
        assert (status, body.count(b".")) == (200, 2)
    for name in ("st-mary.example", "city.example"):
        assert (site.folder / "members" / name / "key.pem").stat().st_mode & 0o777 == 0o600


def test_members_are_listed_with_what_waits_to_be_signed(site: Site) -> None:
    assert "no directory is signed yet" in site.ok("list")
    site.ok("add", "--name", "St Mary's", "--kind", "clinic", "--issue", "st-mary.example", "old.st-mary.example")
    site.ok("sign")
    site.ok("add", "--name", "City", "city.example")
    listed = site.ok("list")
    assert "directory version 1, valid until" in listed
    assert "there are changes that members don't see yet" in listed
    assert "st-mary.example\tSt Mary's\tst-mary.example, old.st-mary.example\tpublished\tst-mary.example " in listed
    assert "city.example\tCity\tcity.example\twaits to be signed\tnone issued here\n" in listed
    assert "city.example is removed" in site.ok("remove", "city.example")
    site.ok("sign")
    assert "city.example" not in site.ok("list")


def test_an_entry_can_be_read_from_a_file(site: Site, tmp_path: Path) -> None:
    certificate = make_certificate(make_ca()).certificate
    file = tmp_path / "clinic.yaml"
    file.write_text(
        "id: clinic\nname: Clinic\nkind: practice\nserver_names: [clinic.example]\n"
        f'certificates:\n  - sha256: "{certificate_sha256(certificate)}"\n'
        "contacts:\n  - {name: Help desk, email: help@clinic.example}\n"
    )
    assert "clinic is added" in site.ok("add", "--entry", file)
    assert "clinic is replaced" in site.ok("add", "--entry", file)
    (entry,) = json.loads((site.folder / "authority.json").read_text())["organisations"]
    assert entry["contacts"] == [{"name": "Help desk", "email": "help@clinic.example"}]
    assert "1 pinned" in site.ok("list")


@pytest.mark.parametrize("text", ["- a\n", "a: [\n", "1: 2\n", "text", "", "\xff", "server: x\n"])
def test_a_file_without_an_entry_is_refused(site: Site, tmp_path: Path, text: str) -> None:
    file = tmp_path / "entry.yaml"
    file.write_bytes(text.encode("latin-1"))
    assert "entry" in site.refused("add", "--entry", file)


def test_certificates_are_issued_and_revoked(site: Site, tmp_path: Path) -> None:
    site.ok("add", "--name", "City", "city.example")
    issued = site.ok("issue", "city.example", "--host", "matrix.city.example", "--output", tmp_path / "out")
    assert str(tmp_path / "out" / "certificate.pem") in issued
    serial = re.search(r"city\.example ([0-9a-f]+) until", site.ok("list"))
    assert serial is not None
    with_colons = ":".join(re.findall("..?", serial[1].zfill(40)))
    assert f"{serial[1]} for city.example is revoked" in site.ok("revoke", "--serial", with_colons)
    assert "nothing is revoked" in site.refused("revoke", "city.example")
    site.ok("issue", "city.example")
    assert "for city.example is revoked" in site.ok("revoke", "city.example")


@pytest.mark.parametrize("form", ["pem", "der"])
def test_a_fingerprint_is_what_an_entry_pins(site: Site, tmp_path: Path, form: str) -> None:
    made = make_certificate(make_ca())
    file = tmp_path / "certificate"
    file.write_bytes(made.pem if form == "pem" else made.der)
    certificate = made.certificate
    assert invoke("trust", "authority", "fingerprint", file).stdout == (
        f"sha256: {certificate_sha256(certificate)}\npublic_key_sha256: {public_key_sha256(certificate)}\n"
    )


WRONG = {
    "no server": (["add", "--name", "x"], "give either"),
    "no name": (["add", "x.example"], "give either"),
    "both forms": (["add", "--entry", "x.yaml", "x.example"], "give either"),
    "a file that is not there": (["add", "--entry", "missing.yaml"], "cannot be read"),
    "not a server name": (["add", "--name", "x", "https://x.example"], "not a server name"),
    "not a member": (["remove", "x.example"], "no member has the id x.example"),
    "a certificate for a stranger": (["issue", "x.example"], "add it first"),
    "a certificate for nobody": (["issue", "not a name"], "not a server name"),
    "a request that is not there": (["issue", "x.example", "--request", "missing.csr"], "cannot be read"),
    "nothing to revoke": (["revoke"], "name either"),
    "too much to revoke": (["revoke", "x.example", "--serial", "1"], "name either"),
    "not a serial number": (["revoke", "--serial", "x"], "not a serial number"),
    "half of the files for HTTPS": (["serve", "--certificate", "x.pem"], "belong together"),
    "serving before signing": (["serve", "--port", "0"], "nothing is signed yet"),
    "another authority there": (["init", "--name", "x", "--url", "https://x.example"], "already"),
}


@pytest.mark.parametrize(("arguments", "complaint"), WRONG.values(), ids=WRONG)
def test_what_can_not_be_done_is_told(site: Site, arguments: list[str], complaint: str) -> None:
    assert complaint in site.refused(*arguments)


def test_what_somebody_must_do_is_listed_for_a_timer(site: Site) -> None:
    site.ok("add", "--name", "A", "--issue", "a.example")
    result = site.run("list", "--check")
    assert (result.exit_code, "! a.example: waits to be signed" in result.stdout) == (1, True)
    site.ok("sign")
    assert site.ok("list", "--check") == ""
    assert "ends at" in site.refused("list", "--check", "--days", 400)


def test_the_passphrase_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site, file = Site(tmp_path / "sealed"), tmp_path / "passphrase"
    file.write_text("correct horse\n")

    def with_file(*arguments: object) -> Result:
        return invoke("trust", "authority", "--passphrase-file", file, *arguments, "--folder", site.folder)

    made = with_file("init", "--name", "North", "--url", "https://trust.example")
    assert made.exit_code == 0 and "without the passphrase nobody" in made.stdout
    assert with_file("sign").exit_code == 0
    for command in ("sign", "serve"):
        assert "passphrase in TIM_SERVER_AUTHORITY_PASSPHRASE" in site.refused(command)
    monkeypatch.setenv("TIM_SERVER_AUTHORITY_PASSPHRASE", "correct horse")
    site.ok("sign")
    monkeypatch.setenv("TIM_SERVER_AUTHORITY_PASSPHRASE", "wrong")
    assert "passphrase is wrong" in site.refused("sign")
    monkeypatch.setenv("TIM_SERVER_AUTHORITY_PASSPHRASE", "")
    assert "passphrase is empty" in site.refused("sign")


def test_without_an_authority_it_is_told_how_to_make_one(tmp_path: Path) -> None:
    assert "tim-server trust authority init" in Site(tmp_path).refused("sign")


def test_a_folder_that_can_not_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "can't be made" in Site(tmp_path / "file" / "x").refused("init", "--name", "x", "--url", "https://x.example")


@dataclass
class Server:
    """A process that serves."""

    process: "subprocess.Popen[str]"
    port: int
    tls: ssl.SSLContext | None

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        if self.tls is None:
            connection: http.client.HTTPConnection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        else:
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=self.tls)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.read()


@contextlib.contextmanager
def serving(site: Site, *arguments: object, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    command = [
        sys.executable,
        "-m",
        "tim_server",
        "trust",
        "authority",
        "serve",
        "--folder",
        site.folder,
        "--port",
        "0",
    ]
    with subprocess.Popen(
        [str(each) for each in (*command, *arguments)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            found = SERVING.search(process.stdout.readline())
            assert found is not None
            yield Server(process, int(found[2]), tls)
        finally:
            process.kill()


def until(holds: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "did not come true"
        time.sleep(0.05)


def test_what_is_signed_or_revoked_while_it_is_served_is_seen_within_seconds(site: Site) -> None:
    site.ok("add", "--name", "City", "--issue", "city.example")
    site.ok("sign")
    with serving(site) as server:
        assert server.get(f"{DIRECTORY_PATH}?version=1") == (204, b"")
        before = server.get("/revoked.crl")[1]
        site.ok("revoke", "city.example")
        until(lambda: server.get("/revoked.crl")[1] not in (b"", before))
        site.ok("add", "--name", "Other", "other.example")
        assert server.get(f"{DIRECTORY_PATH}?version=1") == (204, b"")
        site.ok("sign")
        until(lambda: server.get(f"{DIRECTORY_PATH}?version=1")[0] == 200)
        assert server.get("/anchors.pem")[1] == (site.folder / "public" / "anchors.pem").read_bytes()
        assert server.get("/health") == (200, b"ok\n")
        for secret in ("/authority.json", "/../authority.json", "/root.key.pem", "//etc/passwd"):
            assert server.get(secret)[0] == 404
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0


def test_it_is_served_over_https_too(site: Site, tmp_path: Path) -> None:
    site.ok("sign")
    ca = make_ca()
    files = make_certificate(ca, ["127.0.0.1"]).write(tmp_path)
    options = ["--certificate", files.certificate, "--private-key", files.private_key]
    with serving(site, *options, tls=ssl.create_default_context(cadata=ca.pem.decode())) as server:
        assert server.get(DIRECTORY_PATH)[0] == 200


def test_files_for_https_that_can_not_be_used_are_told(site: Site, tmp_path: Path) -> None:
    site.ok("sign")
    result = site.run("serve", "--certificate", tmp_path / "x.pem", "--private-key", tmp_path / "x.key")
    assert (result.exit_code, "can't be used for HTTPS" in result.output) == (EXIT_CONFIGURATION, True)


def test_a_port_that_is_taken_is_told(site: Site) -> None:
    site.ok("sign")
    with serving(site) as server:
        result = site.run("serve", "--port", server.port)
    assert (result.exit_code, f"port {server.port}" in result.output) == (EXIT_UNAVAILABLE, True)
