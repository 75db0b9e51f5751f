"""A chain leads from a certificate to an anchor, or it does not.

Spec: https://datatracker.ietf.org/doc/html/rfc5280#section-6
"""

import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.certificates import DAY, NOW, Certified, KeyUses, make_ca, make_certificate
from tim_server.trust.certificates import CertificateRefused, read_certificate, read_certificates, to_der
from tim_server.trust.chains import CHAIN_LENGTH_MAX, INTERMEDIATES_MAX, Chain, verify_chain

ROOT = make_ca("root")
MIDDLE = make_ca("middle", issuer=ROOT)
LEAF = make_certificate(MIDDLE)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")


def chain_of(leaf: Certified, *intermediates: Certified, anchors=(ROOT,), now=NOW) -> Chain:
    return verify_chain(
        leaf.certificate,
        intermediates=[each.certificate for each in intermediates],
        anchors=[each.certificate for each in anchors],
        now=now,
    )


def test_a_chain_leads_over_intermediates_to_the_anchor():
    chain = chain_of(LEAF, MIDDLE)
    assert [to_der(each) for each in chain.certificates] == [LEAF.der, MIDDLE.der, ROOT.der]
    assert chain.valid_until == LEAF.certificate.not_valid_after_utc
    assert [to_der(each) for each in chain.issuers] == [MIDDLE.der, ROOT.der]


def test_the_order_of_intermediates_is_of_no_importance_and_others_do_no_harm():
    lower = make_ca("lower", issuer=MIDDLE)
    chain = chain_of(make_certificate(lower), make_ca("a stranger"), lower, ROOT, MIDDLE)
    assert len(chain.certificates) == 4


def test_an_intermediate_authority_may_be_the_anchor():
    assert len(chain_of(LEAF, anchors=[MIDDLE]).certificates) == 2


def test_of_two_certificates_of_the_same_authority_the_valid_one_is_taken():
    expired = make_ca("middle", issuer=ROOT, key=MIDDLE.key, not_after=NOW - DAY / 2)
    assert to_der(chain_of(LEAF, expired, MIDDLE).certificates[1]) == MIDDLE.der


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.BrainpoolP256R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-384", "brainpoolP256r1", "Ed25519", "RSA"],
)
def test_authorities_with_each_kind_of_key_are_understood(key):
    root = make_ca("root", key=key)
    assert chain_of(make_certificate(root, key=key), anchors=[root]).certificates


def unrelated() -> tuple[Certified, list[Certified]]:
    return make_certificate(make_ca("root")), []  # of the same name, with another key


def signed_by_a_leaf() -> tuple[Certified, list[Certified]]:
    return make_certificate(LEAF, ["b.example"]), [LEAF, MIDDLE]


def expired_middle() -> tuple[Certified, list[Certified]]:
    middle = make_ca("old", issuer=ROOT, not_after=NOW - DAY / 2)
    return make_certificate(middle), [middle]


def path_too_long() -> tuple[Certified, list[Certified]]:
    upper = make_ca("upper", issuer=ROOT, path_length=0)
    lower = make_ca("lower", issuer=upper)
    return make_certificate(lower), [lower, upper]


def chain_too_long() -> tuple[Certified, list[Certified]]:
    above = [ROOT]
    for number in range(CHAIN_LENGTH_MAX - 1):
        above.append(make_ca(f"authority {number}", issuer=above[-1]))
    return make_certificate(above[-1]), above[1:]


def other_names_only() -> tuple[Certified, list[Certified]]:
    constraint = x509.NameConstraints([x509.DNSName("b.example")], None)
    middle = make_ca("constrained", issuer=ROOT, extensions=[(constraint, True)])
    return make_certificate(middle, ["a.example"]), [middle]


def other_addresses_only() -> tuple[Certified, list[Certified]]:
    constraint = x509.NameConstraints(None, [x509.IPAddress(ipaddress.ip_network("10.0.0.0/8"))])
    middle = make_ca("constrained", issuer=ROOT, extensions=[(constraint, True)])
    return make_certificate(middle, ["10.1.2.3"]), [middle]


def below_one_that_may_only_sign_lists() -> tuple[Certified, list[Certified]]:
    middle = make_ca("lists only", issuer=ROOT, key_uses=KeyUses(cert_sign=False, crl_sign=True))
    return make_certificate(middle), [middle]


def not_understood_in_the_middle() -> tuple[Certified, list[Certified]]:
    middle = make_ca("strange", issuer=ROOT, extensions=[(UNKNOWN, True)])
    return make_certificate(middle), [middle]


BAD = {
    "self-signed": lambda: (make_certificate(None), []),
    "self-signed, offered as its own issuer": lambda: (own := make_certificate(None), [own]),
    "without the intermediate": lambda: (LEAF, []),
    "of another authority of the same name": unrelated,
    "issued by what is no authority": signed_by_a_leaf,
    "expired": lambda: (make_certificate(ROOT, not_after=NOW - DAY / 2), []),
    "not yet valid": lambda: (make_certificate(ROOT, not_before=NOW + DAY), []),
    "below an expired intermediate": expired_middle,
    "below an authority that may have none below it": path_too_long,
    "too long": chain_too_long,
    "for a name outside the authority's": other_names_only,
    "for an address outside the authority's": other_addresses_only,
    "with a critical extension that nobody knows": lambda: (make_certificate(ROOT, extensions=[(UNKNOWN, True)]), []),
    "below one with a critical extension that nobody knows": not_understood_in_the_middle,
    "with a weak RSA key above": lambda: (make_certificate(weak := _weak_middle()), [weak]),
    "the anchor itself": lambda: (ROOT, []),
    "below an authority that may only sign lists": below_one_that_may_only_sign_lists,
    "with too many intermediates": lambda: (LEAF, [MIDDLE] * (INTERMEDIATES_MAX + 1)),
}


def _weak_middle() -> Certified:
    return make_ca("weak", issuer=ROOT, key=rsa.generate_private_key(65537, 1024))


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_a_chain_that_is_not_valid_is_refused(case):
    leaf, intermediates = case()
    with pytest.raises(CertificateRefused):
        chain_of(leaf, *intermediates)


def test_an_expired_anchor_is_none():
    old = make_ca("root", not_after=NOW - DAY / 2)
    with pytest.raises(CertificateRefused, match="anchor has expired"):
        chain_of(make_certificate(old), anchors=[old])


def test_what_is_no_authority_is_no_anchor():
    own = make_certificate(None)
    with pytest.raises(CertificateRefused, match="no chain"):
        chain_of(own, anchors=[own])
    issued = make_certificate(own)
    with pytest.raises(CertificateRefused, match="no chain"):
        chain_of(issued, anchors=[own])


def test_without_anchors_nothing_is_accepted():
    with pytest.raises(CertificateRefused, match="no chain"):
        chain_of(LEAF, MIDDLE, anchors=[])


def test_the_time_is_that_of_the_caller():
    assert chain_of(LEAF, MIDDLE, now=NOW + 29 * DAY)
    with pytest.raises(CertificateRefused, match="expired"):
        chain_of(LEAF, MIDDLE, now=NOW + 31 * DAY)
    with pytest.raises(CertificateRefused):
        chain_of(LEAF, MIDDLE, now=NOW - 2 * DAY)


@given(position=st.integers(0, len(LEAF.der) - 1), byte=st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_whatever_byte_of_a_certificate_is_changed_it_is_refused(position, byte):
    changed = LEAF.der[:position] + bytes([byte]) + LEAF.der[position + 1 :]
    if changed == LEAF.der:
        return
    with pytest.raises(CertificateRefused):
        verify_chain(
            read_certificate(changed),
            intermediates=[MIDDLE.certificate],
            anchors=[ROOT.certificate],
            now=NOW,
        )


@given(st.binary(max_size=300))
def test_any_bytes_are_no_certificate(data):
    with pytest.raises(CertificateRefused):
        read_certificate(data)


def test_a_certificate_that_is_too_large_is_not_read():
    large = make_certificate(ROOT, [f"host-{number}.a.example" for number in range(2000)])
    with pytest.raises(CertificateRefused, match="bytes"):
        read_certificate(large.der)


def test_a_bundle_holds_one_certificate_or_more():
    assert read_certificates(ROOT.pem + b"a comment\n" + MIDDLE.pem) == (ROOT.certificate, MIDDLE.certificate)
    for nothing in (b"", b"text", LEAF.key_pem):
        with pytest.raises(CertificateRefused):
            read_certificates(nothing)
