"""`tim-server trust …`: how trust stands, what a directory would change, why a server may or may not talk to us."""

import asyncio
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import Result

from tests.certificates import DAY, NOW, make_certificate, make_crl
from tests.cli.test_commands import invoke
from tests.services.trust.site import directory_of, token_of
from tests.trust.circle import ROOT, SIGNING
from tim_server.storage.embedded import EmbeddedPostgres
from tim_server.trust.signed_directory import sign_directory


@dataclass
class Site:
    """The configuration of a homeserver, and what its directory's server has; None: an error. `crl` is what the server
    has at `crl_url`."""

    config: Path
    published: list[bytes | None] = field(default_factory=lambda: [None])
    crl: bytes = b""
    crl_url: str = ""

    def publish(self, document: bytes | None) -> None:
        self.published[:] = [document]

    def run(self, command: str, *arguments: object) -> Result:
        return invoke("trust", command, "--config", self.config, *arguments)


@pytest.fixture
def site(tmp_path: Path, postgres: EmbeddedPostgres) -> Iterator[Site]:
    site = Site(tmp_path / "tim.yaml")

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            (document,) = site.published if self.path != "/list.crl" else (site.crl,)
            self.send_response(503 if document is None else 200)
            self.end_headers()
            self.wfile.write(document or b"")

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    site.crl_url = f"http://127.0.0.1:{server.server_port}/list.crl"
    role = f"cli_{os.urandom(4).hex()}"
    dsn = asyncio.run(postgres.provision_tenant(role))
    anchors = tmp_path / "circle.pem"
    anchors.write_bytes(ROOT.pem)
    site.config.write_text(
        f"server_name: clinic.example\ndata_dir: state\ndatabase: {{dsn: '{dsn}'}}\n"
        "federation: {hosts: {'a.example': '127.0.0.1:9'}}\n"
        "trust:\n  profile: directory\n"
        f"  sources: {{directory: {{urls: ['http://127.0.0.1:{server.server_port}/'], anchors_file: circle.pem}}}}\n"
        f"  certificates: {{anchors_file: circle.pem, revocation_hosts: ['127.0.0.1:{server.server_port}']}}\n"
    )
    yield site
    server.shutdown()
    server.server_close()
    asyncio.run(postgres.drop_tenant(role))


def test_before_there_is_a_directory_somebody_must_act(site: Site) -> None:
    result = site.run("show")
    assert (result.exit_code, "missing" in result.output) == (1, True)
    assert "nobody is talked to" in result.output


def test_a_directory_is_fetched_and_shown(site: Site) -> None:
    site.publish(token_of("a", "b"))
    assert site.run("refresh").stdout == "version 7 is in force from now on\n"
    assert site.run("refresh").stdout == "version 7 is in force, and is the newest\n"
    result = site.run("show", "--servers")
    assert result.exit_code == 0
    assert "version 7" in result.output and "2 servers of 2 organisations" in result.output
    assert "b.example\tHospital b (b)\tnone seen yet" in result.output


def test_what_is_published_is_verified_and_nothing_is_changed(site: Site, tmp_path: Path) -> None:
    site.publish(token_of("a", "b"))
    result = site.run("verify")
    assert (result.exit_code, "no directory is in force yet" in result.output) == (0, True)
    site.run("refresh")
    site.publish(token_of("a", "c", version=8))
    result = site.run("verify")
    assert result.exit_code == 0
    assert [line.strip() for line in result.output.splitlines()[-2:]] == ["- b.example", "+ c.example"]
    assert "version 7" in site.run("show").output
    file = tmp_path / "directory.jws"
    for document, reason in (
        (token_of("a", version=6), "older than 7"),
        (token_of("a", version=9, expires=NOW - DAY / 2), "has expired"),
        (b"nonsense", "not a compact JWS"),
    ):
        file.write_bytes(document)
        result = site.run("verify", file)
        assert (result.exit_code, reason in result.output) == (1, True), result.output
    site.publish(None)
    assert site.run("verify").exit_code == 1
    assert "cannot be read" in site.run("verify", tmp_path / "missing").stderr


def test_a_directory_of_a_revoked_signer_is_refused_as_the_server_refuses_it(site: Site) -> None:
    revoked, valid = (make_certificate(ROOT, [], [SIGNING], crl_urls=[site.crl_url]) for _ in range(2))
    site.crl = make_crl(ROOT, [revoked])
    site.publish(sign_directory(directory_of("a"), key=revoked.key, certificates=revoked.chain))
    for command in ("verify", "refresh"):
        result = site.run(command)
        assert (result.exit_code, "the directory's signer is not accepted" in result.output) == (1, True)
    assert "nobody is talked to" in site.run("show").output
    site.publish(sign_directory(directory_of("a"), key=valid.key, certificates=valid.chain))
    result = site.run("verify")
    assert (result.exit_code, "1 servers of 1 organisations" in result.output) == (0, True), result.output


def test_only_an_operator_goes_back_to_an_older_directory(site: Site) -> None:
    site.publish(token_of("a", version=8))
    site.run("refresh")
    site.publish(token_of("a", "b", version=7))
    result = site.run("refresh")
    assert (result.exit_code, "older than 8" in result.stderr) == (1, True)
    assert "version 8" in site.run("show").output
    assert site.run("refresh", "--allow-rollback").exit_code == 0
    assert "version 7" in site.run("show").output


def test_a_decision_is_explained_step_by_step(site: Site) -> None:
    site.publish(token_of("a"))
    site.run("refresh")
    result = site.run("explain", "a.example")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == [
        "profile", "directory", "listing", "certificate", "a.example",
    ]  # fmt: skip
    result = site.run("explain", "stranger.example")
    assert result.exit_code == 1
    assert result.stdout.endswith("stranger.example may not talk to us: no directory lists stranger.example\n")
    result = site.run("explain", "--connect", "a.example")
    assert (result.exit_code, "can't be reached" in result.output) == (1, True)
    assert "not a server name" in site.run("explain", "no server").stderr


def test_the_open_profile_needs_no_directory(site: Site) -> None:
    text = site.config.read_text().replace("profile: directory", "profile: open")
    site.config.write_text(text)
    result = site.run("show")
    assert (result.exit_code, "any server" in result.output) == (0, True)
    assert site.run("explain", "anybody.example").exit_code == 0
    assert "looks at no directory" in site.run("refresh").stderr


def test_commands_leave_the_signing_key_alone(site: Site) -> None:
    site.run("show")
    assert not (site.config.parent / "state").exists()
