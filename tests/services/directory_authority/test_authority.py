"""An authority says who belongs to its circle, certifies their servers, and signs; members accept what it publishes."""

import ipaddress
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.certificates import DAY, HOUR, NOW, make_ca, make_certificate
from tests.services.directory_authority.conftest import Site, entry_of
from tim_server.matrix.identifiers import ServerName
from tim_server.services.directory_authority import sign as sign_module
from tim_server.services.directory_authority.errors import AuthorityFailed
from tim_server.services.directory_authority.folder import AuthorityFolder
from tim_server.services.directory_authority.found import found_authority
from tim_server.services.directory_authority.issue import Application, issue_certificate, revoke_certificates
from tim_server.services.directory_authority.members import add_member, remove_member
from tim_server.services.directory_authority.overview import Standing, look_over
from tim_server.services.directory_authority.state import format_serial
from tim_server.trust.certificates import CertificateRefused, certificate_sha256
from tim_server.trust.directory import DirectoryRefused
from tim_server.trust.revocation import revocation_sources
from tim_server.trust.signed_directory import AcceptedVersion, Succession, check_succession


def test_members_accept_what_is_signed_and_the_certificates_that_were_issued(site: Site) -> None:
    site.add("a")
    site.add("b")
    certificate = site.issue("a.example")
    assert site.sign().version == 1
    directory = site.fetch().directory
    assert [each.id for each in directory.organisations] == ["a", "b"]
    assert directory.expires == NOW + 30 * DAY
    proved = site.judge(certificate)
    assert (proved.server_name, proved.organisation_id) == ("a.example", "a")


def test_a_certificate_of_one_member_is_not_that_of_another(site: Site) -> None:
    site.add("a")
    site.add("b")
    certificate = site.issue("a.example")
    site.sign()
    with pytest.raises(CertificateRefused, match=r"does not name b\.example"):
        site.judge(certificate, "b.example")


def test_the_signer_certifies_no_server_and_a_server_signs_no_directory(site: Site) -> None:
    site.add()
    certificate = site.issue()
    site.sign()
    with pytest.raises(CertificateRefused):
        site.judge(site.fetch().signer.leaf)
    key = serialization.load_pem_private_key(
        (site.folder.member_folder(ServerName("a.example")) / "key.pem").read_bytes(), password=None
    )
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    forged = sign_module.sign(site.fetch().directory, key=key, certificates=[certificate])
    site.folder.directory_file.write_bytes(forged)
    with pytest.raises(DirectoryRefused, match="TLS servers"):
        site.fetch()


def test_certificates_say_where_the_revocation_list_is(site: Site) -> None:
    site.add()
    site.issue()
    site.sign()
    assert revocation_sources(site.fetch().signer).crl_urls == ("https://trust.example/revoked.crl",)


def test_each_signing_has_a_version_of_its_own(site: Site) -> None:
    first = (site.sign(), site.fetch())[1]
    assert site.sign(now=NOW + HOUR).version == 2
    last = AcceptedVersion(version=1, payload_sha256=first.payload_sha256)
    assert check_succession(site.fetch(NOW + HOUR), last) is Succession.NEWER


def test_private_keys_and_state_can_be_read_by_their_owner_only(site: Site) -> None:
    site.add()
    site.issue()
    site.sign()
    root = site.folder.path
    public = {path for path in root.rglob("*") if path.is_file() and stat.S_IMODE(path.stat().st_mode) != 0o600}
    assert public == {
        site.folder.anchors_file,
        site.folder.crl_file,
        site.folder.directory_file,
        root / "members" / "a.example" / "certificate.pem",
    }
    assert not any(b"PRIVATE KEY" in path.read_bytes() for path in public)


def test_a_second_authority_is_not_founded_over_the_first(site: Site) -> None:
    before = site.folder.root_key_file.read_bytes()
    for lost in ([], [site.folder.state_file]):
        for file in lost:
            file.unlink()
        with pytest.raises(AuthorityFailed, match="already"):
            found_authority(site.folder, name="x", url="https://x.example", now=NOW)
    assert site.folder.root_key_file.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("", "https://trust.example"),
        (" ", "https://trust.example"),
        ("a\nb", "https://trust.example"),
        ("x" * 201, "https://trust.example"),
        ("North", "trust.example"),
        ("North", "ftp://trust.example"),
        ("North", "https://"),
        ("North", "https://trust.example/?x=1"),
        ("North", "https://["),
        ("North", "https://krankenhäuser.example"),
    ],
)
def test_an_authority_has_a_name_and_an_address(tmp_path: Path, name: str, url: str) -> None:
    with pytest.raises(AuthorityFailed):
        found_authority(AuthorityFolder(tmp_path / "new"), name=name, url=url, now=NOW)
    assert not (tmp_path / "new" / "authority.json").exists()


def test_long_names_fit_into_certificates(tmp_path: Path) -> None:
    folder = AuthorityFolder(tmp_path / "long")
    found_authority(folder, name="ä" * 200, url="https://trust.example", now=NOW)
    site = Site(folder)
    server_name = f"{'x' * 60}.hospital.example"
    site.add(name="ö" * 500, server_names=[server_name])
    certificate = site.issue(server_name)
    site.sign()
    assert site.judge(certificate, server_name)


BAD_ENTRIES = {
    "a key that there is not": entry_of(server_name="a.example"),
    "no servers": entry_of(server_names=[]),
    "a server twice": entry_of(server_names=["a.example", "A.example"]),
    "a server of another": entry_of("b", server_names=["b.example", "TAKEN.example"]),
    "a wrong pin": entry_of(certificates=[{"sha256": "x"}]),
    "no kind": entry_of(kind=None),
}


@pytest.mark.parametrize("entry", BAD_ENTRIES.values(), ids=BAD_ENTRIES)
def test_an_entry_that_members_would_refuse_is_not_added(site: Site, entry: dict[str, object]) -> None:
    site.add("taken")
    before = site.folder.state_file.read_bytes()
    with pytest.raises(AuthorityFailed):
        add_member(site.folder, entry, NOW)
    assert site.folder.state_file.read_bytes() == before


def test_an_entry_may_pin_certificates_of_other_authorities(site: Site) -> None:
    other = make_certificate(make_ca("trust centre"))
    site.add(certificates=[{"sha256": certificate_sha256(other.certificate)}])
    site.sign()
    organisation = site.fetch().directory.organisations[0]
    assert (len(organisation.certificates), organisation.issuers) == (1, ())


def test_what_was_changed_is_published_once_it_is_signed(site: Site) -> None:
    site.add("a")
    site.add("b")
    site.sign()
    site.add("a", name="Another name")
    site.add("c")
    remove_member(site.folder, "b", NOW)
    assert [each.id for each in site.fetch().directory.organisations] == ["a", "b"]
    overview = look_over(site.folder, NOW)
    assert [(each.organisation.id, each.standing) for each in overview.members] == [
        ("a", Standing.CHANGED),
        ("b", Standing.REMOVED),
        ("c", Standing.NEW),
    ]
    assert overview.has_unsigned_changes
    site.sign()
    assert sorted(each.id for each in site.fetch().directory.organisations) == ["a", "c"]
    assert not look_over(site.folder, NOW).has_unsigned_changes


def test_who_is_removed_has_its_certificates_revoked(site: Site) -> None:
    site.add("a")
    certificate = site.issue("a.example")
    site.sign()
    assert remove_member(site.folder, "a", NOW).revoked_count == 1
    site.add("a")  # a namesake, or the same again
    site.sign()
    with pytest.raises(CertificateRefused, match="revoked"):
        site.judge(certificate)
    assert site.judge(site.issue("a.example"))


def test_a_server_that_a_member_gives_up_has_its_certificates_revoked(site: Site) -> None:
    site.add("a", server_names=["a.example", "old.example"])
    kept, given_up = site.issue("a.example"), site.issue("old.example")
    changed = add_member(site.folder, entry_of("a"), NOW)
    assert (changed.is_new, changed.revoked_count) == (False, 1)
    site.sign()
    assert site.crl().get_revoked_certificate_by_serial_number(given_up.serial_number)
    assert site.judge(kept)


def test_who_is_not_a_member_can_not_be_removed_nor_certified(site: Site) -> None:
    with pytest.raises(AuthorityFailed, match="no member has the id x"):
        remove_member(site.folder, "x", NOW)
    with pytest.raises(AuthorityFailed, match=r"no member has a server x\.example; add it first"):
        site.issue("x.example")


def test_a_revoked_certificate_is_on_the_list_at_once(site: Site) -> None:
    site.add()
    first, second = site.issue(), site.issue()
    site.sign()
    (revoked,) = revoke_certificates(site.folder, NOW, serial=first.serial_number)
    assert revoked.serial == first.serial_number
    with pytest.raises(CertificateRefused, match="revoked"):
        site.judge(first)
    assert site.judge(second)
    revoke_certificates(site.folder, NOW, server_name=ServerName("A.EXAMPLE"))
    with pytest.raises(CertificateRefused, match="revoked"):
        site.judge(second)
    with pytest.raises(AuthorityFailed, match="nothing is revoked"):
        revoke_certificates(site.folder, NOW, server_name=ServerName("a.example"))


def test_the_list_goes_on_for_as_long_as_it_did_before(site: Site) -> None:
    site.add()
    site.issue()
    site.sign(crl_valid_days=2)
    revoke_certificates(site.folder, NOW + HOUR, server_name=ServerName("a.example"))
    assert site.crl().next_update_utc == NOW + HOUR + 2 * DAY


def test_expired_certificates_leave_the_list(site: Site) -> None:
    site.add()
    certificate = site.issue(valid_days=10)
    revoke_certificates(site.folder, NOW, server_name=ServerName("a.example"))
    site.sign(now=NOW + 16 * DAY)
    assert site.crl().get_revoked_certificate_by_serial_number(certificate.serial_number)
    site.sign(now=NOW + 18 * DAY)
    assert len(site.crl()) == 0


def test_after_the_signer_was_revoked_another_signs(site: Site) -> None:
    site.sign()
    before = site.fetch().signer.leaf
    revoke_certificates(site.folder, NOW, serial=before.serial_number)
    site.sign()
    after = site.fetch().signer.leaf
    assert after.serial_number != before.serial_number
    assert site.crl().get_revoked_certificate_by_serial_number(before.serial_number)


def test_a_certificate_has_the_server_first_and_what_else_it_is_asked_for(site: Site) -> None:
    site.add(server_names=["a.example:8448", "10.0.0.1", "[2001:db8::1]:443"])
    names = site.issue("A.example:8448", hosts=["matrix.a.example", "a.example", "10.0.0.9"])
    san = names.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == ["a.example", "matrix.a.example"]
    assert [str(address) for address in san.get_values_for_type(x509.IPAddress)] == ["10.0.0.9"]
    site.sign()
    for server_name in ("10.0.0.1", "[2001:db8::1]:443"):
        assert site.judge(site.issue(server_name), server_name)
    with pytest.raises(AuthorityFailed, match="not a server name"):
        site.issue("a.example:8448", hosts=["*.a.example"])


def request_for(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, *names: x509.GeneralName) -> bytes:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "evil.example")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_a_member_may_keep_its_key_to_itself_and_gets_no_more_than_its_due(site: Site) -> None:
    site.add()
    key = ec.generate_private_key(ec.SECP384R1())
    application = Application(server_name=ServerName("a.example"), request=request_for(key))
    files = issue_certificate(site.folder, application, NOW)
    assert files.private_key is None
    assert not (files.certificate.parent / "key.pem").exists()
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    assert certificate.public_key() == key.public_key()
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert "evil" not in certificate.subject.rfc4514_string()
    site.sign()
    assert site.judge(certificate)


def test_a_request_may_name_the_server_and_what_else_it_is_to_have(site: Site) -> None:
    site.add(server_names=["a.example", "10.0.0.1"])
    key = ec.generate_private_key(ec.SECP256R1())
    named = [x509.DNSName("A.example"), x509.DNSName("matrix.a.example")]
    certificate = site.issue(request=request_for(key, *named), hosts=["matrix.a.example"])
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == ["a.example", "matrix.a.example"]
    address = x509.IPAddress(ipaddress.ip_address("10.0.0.1"))
    site.issue("10.0.0.1", request=request_for(key, address))
    for name in (x509.DNSName("b.example"), x509.DNSName("*.example"), x509.RFC822Name("a@a.example"), address):
        with pytest.raises(AuthorityFailed, match="the request names"):
            site.issue(request=request_for(key, *named[:1], name))


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"text",
        request_for(rsa.generate_private_key(65537, 1024)),
        request_for(ec.generate_private_key(ec.SECP192R1())),
        make_certificate(None).pem,
    ],
    ids=["nothing", "text", "weak RSA", "weak curve", "a certificate"],
)
def test_a_bad_request_gets_no_certificate(site: Site, request_: bytes) -> None:
    site.add()
    with pytest.raises(AuthorityFailed):
        issue_certificate(site.folder, Application(server_name=ServerName("a.example"), request=request_), NOW)
    assert look_over(site.folder, NOW).members[0].issued == ()


def test_nothing_is_issued_beyond_the_end_of_the_root(site: Site) -> None:
    site.add()
    with pytest.raises(AuthorityFailed, match="root's certificate expires"):
        site.issue(valid_days=3651)


def test_no_certificate_of_one_member_is_good_for_a_server_of_another(site: Site) -> None:
    site.add("a")
    site.add("b")
    with pytest.raises(AuthorityFailed, match=r"b\.example is where b has a server"):
        site.issue("a.example", hosts=["B.example"])
    with pytest.raises(AuthorityFailed, match=r"b has a server on b\.example too"):
        site.add("c", server_names=["c.example", "b.example:8448"])
    former = site.issue("a.example", hosts=["matrix.example"])
    serial = format_serial(former.serial_number)
    with pytest.raises(AuthorityFailed, match=f"certificate {serial} of a names matrix.example; revoke it first"):
        site.add("c", server_names=["matrix.example"])
    revoke_certificates(site.folder, NOW, serial=former.serial_number)
    site.add("c", server_names=["matrix.example"])
    with pytest.raises(AuthorityFailed, match="where c has a server"):
        site.issue("a.example", hosts=["matrix.example"])


def test_a_member_may_have_several_servers_on_a_host(site: Site) -> None:
    site.add(server_names=["a.example", "a.example:8449"])
    site.sign()
    assert site.judge(site.issue("a.example"), "a.example:8449")
