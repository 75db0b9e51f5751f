"""An authority goes on: what runs out is renewed, and crashes, restores, damage and haste leave no version twice."""

import json
import multiprocessing
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from tests.certificates import DAY, NOW, make_certificate
from tests.services.directory_authority.conftest import Site, entry_of
from tim_server.matrix.identifiers import ServerName
from tim_server.services.directory_authority.errors import AuthorityFailed
from tim_server.services.directory_authority.folder import AuthorityFolder
from tim_server.services.directory_authority.issue import revoke_certificates
from tim_server.services.directory_authority.members import add_member
from tim_server.services.directory_authority.overview import look_over
from tim_server.services.directory_authority.sign import renew_if_due
from tim_server.services.directory_authority.state import decode_state, encode_state
from tim_server.trust.certificates import CertificateRefused
from tim_server.trust.directory import DirectoryRefused


def test_what_is_signed_is_renewed_with_a_third_of_its_time_left(site: Site) -> None:
    site.add("a")
    site.sign(valid_days=30, crl_valid_days=9)
    site.add("b")
    nothing = renew_if_due(site.folder, NOW + DAY)
    assert (nothing.directory, nothing.has_crl) == (None, False)
    list_only = renew_if_due(site.folder, NOW + 6 * DAY)
    assert (list_only.directory, list_only.has_crl) == (None, True)
    assert site.crl().next_update_utc == NOW + 15 * DAY
    both = renew_if_due(site.folder, NOW + 20 * DAY)
    assert both.has_crl and both.directory is not None
    assert (both.directory.version, both.directory.expires) == (2, NOW + 50 * DAY)
    assert [each.id for each in site.fetch(NOW + 20 * DAY).directory.organisations] == ["a"]  # b was not signed for


def test_what_has_expired_is_renewed_too(site: Site) -> None:
    site.add()
    site.sign()
    with pytest.raises(DirectoryRefused, match="expired"):
        site.fetch(NOW + 365 * DAY)
    renew_if_due(site.folder, NOW + 500 * DAY)  # by a new signer: the old one has ended too
    assert site.fetch(NOW + 500 * DAY).directory.version == 2


def test_before_the_first_signing_there_is_nothing_to_renew(site: Site) -> None:
    with pytest.raises(AuthorityFailed, match="nothing is signed yet"):
        renew_if_due(site.folder, NOW)


def test_the_signer_is_renewed_before_a_directory_would_outlive_it(site: Site) -> None:
    site.sign()
    first = site.fetch().signer.leaf
    site.sign(now=NOW + 366 * DAY)
    assert site.fetch(NOW + 366 * DAY).signer.leaf == first
    site.sign(now=NOW + 368 * DAY)
    assert site.fetch(NOW + 368 * DAY).signer.leaf != first


def test_a_root_kept_elsewhere_is_needed_for_certificates_and_lists_only(site: Site, tmp_path: Path) -> None:
    site.add()
    site.sign(crl_valid_days=60)
    site.folder.root_key_file.rename(tmp_path / "in-the-safe.pem")
    with pytest.raises(AuthorityFailed, match="not there"):
        site.issue()
    renewed = renew_if_due(site.folder, NOW + 25 * DAY)
    assert renewed.directory is not None and not renewed.has_crl
    with pytest.raises(AuthorityFailed, match="not there"):
        renew_if_due(site.folder, NOW + 59 * DAY)
    assert site.fetch(NOW + 59 * DAY).directory.version == 3  # but the directory is renewed


def test_without_the_root_nothing_is_revoked_and_with_it_what_was_to_be(site: Site, tmp_path: Path) -> None:
    site.add()
    certificate = site.issue()
    site.sign()
    safe = tmp_path / "in-the-safe.pem"
    site.folder.root_key_file.rename(safe)
    with pytest.raises(AuthorityFailed, match="not there"):
        revoke_certificates(site.folder, NOW, serial=certificate.serial_number)
    safe.rename(site.folder.root_key_file)
    revoke_certificates(site.folder, NOW, serial=certificate.serial_number)
    with pytest.raises(CertificateRefused, match="revoked"):
        site.judge(certificate)


def test_what_was_revoked_when_the_authority_failed_is_on_the_list_soon(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add()
    certificate = site.issue()
    site.sign()
    with monkeypatch.context() as failing, pytest.raises(AuthorityFailed, match="disk is full"):
        failing.setattr(AuthorityFolder, "write", failing_after(1))
        revoke_certificates(site.folder, NOW, serial=certificate.serial_number)
    assert renew_if_due(site.folder, NOW).has_crl
    with pytest.raises(CertificateRefused, match="revoked"):
        site.judge(certificate)
    assert not renew_if_due(site.folder, NOW).has_crl


def test_after_a_restore_the_version_goes_on_from_what_members_have(site: Site) -> None:
    site.sign()
    assert site.sign(after_version=41).version == 42
    assert site.sign(after_version=7).version == 43


def test_what_members_would_refuse_is_not_published(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add()
    site.sign()
    before = site.folder.directory_file.read_bytes()
    monkeypatch.setattr("tim_server.trust.signed_directory.DIRECTORY_BYTES_MAX", 100)
    with pytest.raises(AuthorityFailed, match="members would refuse"):
        site.sign()
    assert site.folder.directory_file.read_bytes() == before


def failing_after(allowed: int) -> Callable[..., None]:
    """Writes that many files, and then none."""
    original, left = AuthorityFolder.write, iter(range(allowed))

    def write(self: AuthorityFolder, file: Path, content: bytes, *, mode: int) -> None:
        if next(left, None) is None:
            raise AuthorityFailed("the disk is full")
        original(self, file, content, mode=mode)

    return write


def test_a_failure_at_any_step_leaves_no_version_twice(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a crash does: whatever file is written last, what is published next differs in its version."""
    site.add()
    site.sign()
    original = AuthorityFolder.write
    published = {site.fetch().directory.version: site.fetch().payload_sha256}
    for allowed in range(6):
        site.add(name=f"Name {allowed}")
        monkeypatch.setattr(AuthorityFolder, "write", failing_after(allowed))
        with suppress(AuthorityFailed):
            site.sign()
        monkeypatch.setattr(AuthorityFolder, "write", original)
        seen = site.fetch()
        assert published.setdefault(seen.directory.version, seen.payload_sha256) == seen.payload_sha256
        site.sign()
        seen = site.fetch()
        assert seen.directory.version not in published
        published[seen.directory.version] = seen.payload_sha256
    assert not list(site.folder.path.rglob(".*.????????"))  # no drafts lie about


def add_many(folder: AuthorityFolder, names: list[str]) -> None:
    for name in names:
        add_member(folder, entry_of(name), NOW)


def test_commands_at_the_same_time_wait_for_each_other(site: Site) -> None:
    names = [[f"m{worker}-{number}" for number in range(10)] for worker in range(3)]
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=add_many, args=(site.folder, each)) for each in names]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert len(site.folder.read_state().organisations) == 30


def test_the_state_is_read_as_it_was_written(site: Site) -> None:
    site.add("a", contacts=[{"name": "Ä", "email": "x@a.example"}])
    site.issue()
    site.sign()
    revoke_certificates(site.folder, NOW + timedelta(seconds=1), server_name=ServerName("a.example"))
    state = site.folder.read_state()
    assert decode_state(encode_state(state)) == state
    assert "Ä" in site.folder.state_file.read_text(encoding="utf-8")  # readable by people


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: json.dumps({**json.loads(text), "format": 2}),
        lambda text: json.dumps({key: each for key, each in json.loads(text).items() if key != "version"}),
        lambda text: json.dumps({**json.loads(text), "organisations": [{}]}),
        lambda text: "[]",
    ],
    ids=["empty", "half", "of the future", "without a version", "a member without anything", "a list"],
)
def test_a_damaged_state_is_told_and_not_overwritten(site: Site, damage) -> None:
    damaged = damage(site.folder.state_file.read_text())
    site.folder.state_file.write_text(damaged)
    with pytest.raises(AuthorityFailed, match=r"authority\.json"):
        site.add()
    assert site.folder.state_file.read_text() == damaged


@pytest.mark.parametrize("file", ["root_key_file", "signer_file", "anchors_file"])
def test_damaged_keys_are_told(site: Site, file: str) -> None:
    site.sign()
    path: Path = getattr(site.folder, file)
    for damaged in (b"damaged", make_certificate(None).pem, make_certificate(None).key_pem):
        path.write_bytes(damaged)
        with pytest.raises(AuthorityFailed, match="backup"):
            site.sign()


def test_a_damaged_directory_is_told_and_signed_anew(site: Site) -> None:
    site.sign()
    site.folder.directory_file.write_bytes(b"damaged")
    with pytest.raises(AuthorityFailed, match="sign the directory anew"):
        renew_if_due(site.folder, NOW)
    assert site.sign().version == 2
    assert site.fetch()


def test_a_folder_without_an_authority_is_told(tmp_path: Path) -> None:
    with pytest.raises(AuthorityFailed, match="trust authority init"):
        look_over(AuthorityFolder(tmp_path), NOW)
