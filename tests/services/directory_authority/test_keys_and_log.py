"""Keys may be encrypted, every decision is in a log, and what ends is told before it does."""

import stat
from pathlib import Path

import pytest

from tests.certificates import DAY, NOW, make_ca
from tests.services.directory_authority.conftest import Site
from tim_server.matrix.identifiers import ServerName
from tim_server.services.directory_authority.errors import AuthorityFailed
from tim_server.services.directory_authority.folder import AuthorityFolder
from tim_server.services.directory_authority.found import found_authority
from tim_server.services.directory_authority.issue import revoke_certificates
from tim_server.services.directory_authority.keys import check_passphrase
from tim_server.services.directory_authority.members import remove_member
from tim_server.services.directory_authority.overview import concerns, look_over
from tim_server.trust.certificates import public_key_sha256


@pytest.fixture
def sealed(tmp_path: Path) -> Site:
    folder = AuthorityFolder(tmp_path / "sealed", b"correct horse")
    found_authority(folder, name="Hospitals of the North", url="https://trust.example/", now=NOW)
    return Site(folder)


def test_keys_are_encrypted_with_a_passphrase(sealed: Site) -> None:
    sealed.add()
    sealed.issue()
    sealed.sign()
    folder = sealed.folder
    for file in (folder.root_key_file, folder.signer_file):
        assert b"ENCRYPTED PRIVATE KEY" in file.read_bytes()
    assert sealed.fetch().directory.version == 1
    member_key = folder.member_folder(ServerName("a.example")) / "key.pem"
    assert b"ENCRYPTED" not in member_key.read_bytes(), "the member does not know the passphrase"
    assert "horse" not in repr(folder)


@pytest.mark.parametrize(("passphrase", "reason"), [(None, "keys are encrypted"), (b"wrong", "passphrase is wrong")])
def test_without_the_passphrase_nothing_is_signed_or_issued(
    sealed: Site, passphrase: bytes | None, reason: str
) -> None:
    sealed.add()
    sealed.sign()
    other = Site(AuthorityFolder(sealed.folder.path, passphrase))
    before = other.folder.state_file.read_bytes()
    with pytest.raises(AuthorityFailed, match=reason):
        other.sign()
    with pytest.raises(AuthorityFailed, match=reason):
        other.issue()
    with pytest.raises(AuthorityFailed, match=reason):
        check_passphrase(other.folder)
    assert other.folder.state_file.read_bytes() == before
    assert look_over(other.folder, NOW).published, "to look takes none"


def test_a_passphrase_does_no_harm_where_keys_are_not_encrypted(site: Site) -> None:
    site.add()
    Site(AuthorityFolder(site.folder.path, b"needless")).issue()
    check_passphrase(site.folder)


def test_every_decision_is_in_the_log(site: Site) -> None:
    site.add("a")
    certificate = site.issue()
    site.sign()
    site.add("a", name="St Mary's")
    revoke_certificates(site.folder, NOW, serial=certificate.serial_number)
    remove_member(site.folder, "a", NOW)
    log = site.folder.path / "log"
    lines = [line.split("\t", 2) for line in log.read_text().splitlines()]
    assert [what.split()[0] for _, _, what in lines] == [
        "found", "add", "issue", "make", "sign", "replace", "revoke", "remove",
    ]  # fmt: skip
    assert {when for when, _, _ in lines} == {NOW.strftime("%Y-%m-%dT%H:%M:%SZ")} and all(who for _, who, _ in lines)
    assert f"{certificate.serial_number:x}" in lines[2][2]
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def told(site: Site, days: float = 0) -> list[str]:
    now = NOW + days * DAY
    return list(concerns(look_over(site.folder, now), now, soon=30 * DAY))


def test_what_somebody_must_do_is_told(site: Site) -> None:
    site.add("a")
    assert told(site) == [
        "no directory is signed yet",
        "a: waits to be signed",
        "a: a.example has no certificate: issue one",
    ]
    site.issue(valid_days=60)
    site.sign(valid_days=90, crl_valid_days=90)
    assert told(site) == []
    (concern,) = told(site, days=31)
    assert "the certificate of a.example ends at" in concern
    site.issue(valid_days=397)
    assert told(site, days=31) == []
    assert [concern.split(" expired")[0] for concern in told(site, days=91)] == [
        "the directory",
        "the revocation list",
    ]


def test_who_is_known_by_another_authority_needs_no_certificate(site: Site) -> None:
    other = public_key_sha256(make_ca().certificate)
    site.add("a", issuers=[{"public_key_sha256": other}])
    site.sign()
    assert told(site) == []
