"""The organisation certificate: it must chain, be for the purpose, name the server, stand in the directory, and not be
revoked; each alone is not enough."""

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from tests.certificates import CLIENT, DAY, HOUR, NOW, SERVER, Certified, KeyUses, make_ca, make_certificate, make_crl
from tests.trust.circle import ROOT, SIGNER, certificate_pin, make_organisation
from tim_server.matrix.identifiers import ServerName
from tim_server.trust.certificates import CertificateRefused, host_of, names_host, public_key_sha256, to_der
from tim_server.trust.crls import read_crl
from tim_server.trust.directory import Organisation, Pin, PinnedPart
from tim_server.trust.organisation_certificate import (
    Direction,
    OrganisationCertificate,
    Presented,
    verify_organisation_certificate,
    verify_presented_chain,
)
from tim_server.trust.revocation import RevocationData, RevocationRules

CRL = read_crl(make_crl(ROOT, next_update=NOW + DAY))
MEMBER = make_certificate(ROOT, ["a.example", "10.0.0.1", "2001:db8::1"])


def public_key_pin(certified: Certified) -> Pin:
    return Pin(part=PinnedPart.PUBLIC_KEY, digest=public_key_sha256(certified.certificate))


def listed(*names: str, certified: Certified = MEMBER, **changes) -> Organisation:
    server_names = tuple(ServerName(name) for name in names or ("a.example",))
    return make_organisation(**{"server_names": server_names, "certificates": (certificate_pin(certified),), **changes})


def verify(
    certified: Certified = MEMBER,
    organisation: Organisation | None = None,
    *,
    server_name: str = "a.example",
    direction: Direction = Direction.OUTGOING,
    crl: x509.CertificateRevocationList = CRL,
) -> OrganisationCertificate:
    presented = Presented(
        certificate=certified.der,
        intermediates=tuple(to_der(each) for each in certified.intermediates),
        direction=direction,
    )
    return verify_organisation_certificate(
        verify_presented_chain(presented, anchors=[ROOT.certificate], now=NOW),
        server_name=ServerName(server_name),
        organisation=organisation or listed(certified=certified),
        revocation=(RevocationData(crls=(crl,)), RevocationRules()),
        now=NOW,
    )


def test_a_listed_certificate_proves_who_a_server_is_until_the_list_ends():
    verified = verify()
    assert verified.server_name == "a.example"
    assert verified.organisation_id == "a"
    assert verified.sha256 == certificate_pin(MEMBER).digest
    assert verified.holds_until == NOW + DAY


@pytest.mark.parametrize(
    "server_name",
    ["a.example", "A.Example", "a.example:8448", "10.0.0.1", "10.0.0.1:8448", "[2001:db8::1]", "[2001:DB8:0::1]:8448"],
)
def test_the_host_of_the_server_name_stands_in_the_certificate(server_name):
    assert verify(organisation=listed(server_name), server_name=server_name)


@pytest.mark.parametrize(
    "names",
    [
        ["b.example"],
        ["*.example"],
        ["sub.a.example"],
        ["a.example."],
        ["aa.example"],
        ["example"],
        [],
    ],
    ids=str,
)
def test_a_certificate_that_does_not_name_the_server_is_refused(names):
    other = make_certificate(ROOT, names, common_name="a.example")
    with pytest.raises(CertificateRefused, match=r"does not name a\.example"):
        verify(other)


def test_a_wildcard_names_no_server():
    wild = make_certificate(ROOT, ["*.a.example"])
    with pytest.raises(CertificateRefused, match="does not name"):
        verify(wild, listed("chat.a.example", certified=wild), server_name="chat.a.example")


def test_an_address_as_a_dns_name_is_no_address():
    strange = make_certificate(ROOT, [], extensions=[(x509.SubjectAlternativeName([x509.DNSName("10.0.0.1")]), False)])
    with pytest.raises(CertificateRefused, match="does not name"):
        verify(strange, listed("10.0.0.1", certified=strange), server_name="10.0.0.1")


@pytest.mark.parametrize(
    "pins",
    [
        {"certificates": (certificate_pin(MEMBER),)},
        {"certificates": (public_key_pin(MEMBER),)},
        {"certificates": (certificate_pin(SIGNER), certificate_pin(MEMBER))},
        {"certificates": (), "issuers": (certificate_pin(ROOT),)},
        {"certificates": (), "issuers": (public_key_pin(ROOT),)},
        {"certificates": (certificate_pin(SIGNER),), "issuers": (public_key_pin(ROOT),)},
    ],
    ids=["certificate", "public key", "one of two", "issuer", "issuer's key", "issuer, not certificate"],
)
def test_the_directory_knows_a_server_by_certificate_key_or_issuer(pins):
    assert verify(organisation=listed(**pins))


@pytest.mark.parametrize(
    "pins",
    [
        {"certificates": (certificate_pin(SIGNER),)},
        {"certificates": (public_key_pin(SIGNER),)},
        {"certificates": (), "issuers": (public_key_pin(SIGNER),)},
        {"certificates": (), "issuers": (certificate_pin(MEMBER), public_key_pin(MEMBER))},
        {"certificates": (certificate_pin(ROOT), public_key_pin(ROOT))},
        {"certificates": (Pin(part=PinnedPart.PUBLIC_KEY, digest=certificate_pin(MEMBER).digest),)},
    ],
    ids=["another certificate", "another key", "another issuer", "itself as issuer", "issuer as itself", "wrong part"],
)
def test_a_certificate_that_the_directory_does_not_list_is_refused_however_good_it_is(pins):
    with pytest.raises(CertificateRefused, match="not one that the directory lists"):
        verify(organisation=listed(**pins))


def test_a_member_can_not_speak_for_another_of_its_names():
    with pytest.raises(CertificateRefused, match=r"does not list b\.example"):
        both = make_certificate(ROOT, ["a.example", "b.example"])
        verify(both, listed("a.example", certified=both), server_name="b.example")


def test_a_port_that_is_not_listed_is_another_server():
    with pytest.raises(CertificateRefused, match="does not list"):
        verify(organisation=listed("a.example:8448"), server_name="a.example")


BAD_USES = {
    "an authority": make_ca("a.example", issuer=ROOT),
    "without a key usage": make_certificate(ROOT, key_uses=None),
    "not for signatures": make_certificate(ROOT, key_uses=KeyUses(digital_signature=False, encipherment=True)),
    "for any usage": make_certificate(ROOT, usages=[ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]),
    "without extended usages": make_certificate(ROOT, usages=None),
    "for e-mail": make_certificate(ROOT, usages=[ExtendedKeyUsageOID.EMAIL_PROTECTION]),
    "the signer of directories": SIGNER,
}


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("certified", BAD_USES.values(), ids=BAD_USES)
def test_a_certificate_for_another_purpose_is_refused(certified, direction):
    with pytest.raises(CertificateRefused):
        verify(certified, direction=direction)


@pytest.mark.parametrize(
    ("usages", "direction", "is_accepted"),
    [
        ([SERVER], Direction.OUTGOING, True),
        ([CLIENT], Direction.OUTGOING, False),
        ([SERVER, CLIENT], Direction.OUTGOING, True),
        ([SERVER], Direction.INCOMING, True),
        ([CLIENT], Direction.INCOMING, True),
    ],
)
def test_a_server_is_one_and_a_client_is_either(usages, direction, is_accepted):
    certified = make_certificate(ROOT, usages=usages)
    if is_accepted:
        assert verify(certified, direction=direction)
    else:
        with pytest.raises(CertificateRefused, match="serverAuth"):
            verify(certified, direction=direction)


BAD_CHAINS = {
    "self-signed": make_certificate(None),
    "of a stranger's authority": make_certificate(make_ca("root of the circle")),
    "expired": make_certificate(ROOT, not_after=NOW - HOUR),
    "not yet valid": make_certificate(ROOT, not_before=NOW + HOUR),
    "issued by another member": make_certificate(MEMBER),
}


@pytest.mark.parametrize("certified", BAD_CHAINS.values(), ids=BAD_CHAINS)
def test_a_certificate_that_no_anchor_vouches_for_is_refused_though_the_directory_pins_it(certified):
    with pytest.raises(CertificateRefused):
        verify(certified)


def test_a_revoked_certificate_is_refused_though_the_directory_still_lists_it():
    with pytest.raises(CertificateRefused, match="revoked"):
        verify(crl=read_crl(make_crl(ROOT, [MEMBER])))


def test_without_a_valid_list_a_certificate_is_refused():
    with pytest.raises(CertificateRefused, match="no valid revocation list"):
        verify(crl=read_crl(make_crl(ROOT, last_update=NOW - DAY, next_update=NOW - HOUR)))


def test_what_is_no_certificate_is_refused():
    for presented in (Presented(certificate=b"x"), Presented(certificate=MEMBER.der, intermediates=(b"x",))):
        with pytest.raises(CertificateRefused):
            verify_presented_chain(presented, anchors=[ROOT.certificate], now=NOW)


@given(st.from_regex(r"([a-z0-9-]{1,10}\.)?[a-z]{1,5}(:[0-9]{1,5})?", fullmatch=True))
def test_only_the_very_name_is_named(name):
    host = host_of(ServerName(name))
    assert ":" not in host
    assert names_host(MEMBER.certificate, host) is (host == "a.example")
