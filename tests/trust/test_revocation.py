"""Revocation: which lists and OCSP responses count, and that what nothing valid speaks for is refused.

Spec: https://datatracker.ietf.org/doc/html/rfc5280#section-6.3, https://datatracker.ietf.org/doc/html/rfc6960
"""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509 import ocsp
from hypothesis import given
from hypothesis import strategies as st

from tests.certificates import (
    DAY,
    HOUR,
    NOW,
    OCSP_SIGNING,
    Certified,
    KeyUses,
    make_ca,
    make_certificate,
    make_crl,
    make_ocsp_response,
    new_key,
)
from tim_server.trust.certificates import CertificateRefused
from tim_server.trust.chains import Chain, verify_chain
from tim_server.trust.crls import crl_urls, read_crl
from tim_server.trust.ocsp_responses import read_ocsp_response
from tim_server.trust.revocation import (
    RevocationData,
    RevocationMode,
    RevocationRules,
    check_revocation,
    revocation_sources,
)

ROOT = make_ca("root")
CRL_URL = "http://crl.example/root.crl"
LEAF = make_certificate(ROOT, crl_urls=[CRL_URL])
OTHER = make_certificate(ROOT, ["b.example"])
REQUIRED = RevocationRules()
IF_KNOWN = RevocationRules(mode=RevocationMode.IF_KNOWN)
WITH_OCSP = RevocationRules(uses_ocsp=True)
NO_CHECK = (x509.OCSPNoCheck(), False)


def chain_of(leaf: Certified, *intermediates: Certified, root: Certified = ROOT) -> Chain:
    others = [each.certificate for each in intermediates]
    return verify_chain(leaf.certificate, intermediates=others, anchors=[root.certificate], now=NOW)


CHAIN = chain_of(LEAF)


def check(*crls: bytes, chain: Chain = CHAIN, rules: RevocationRules = REQUIRED, now=NOW, ocsp_responses=()):
    data = RevocationData(
        crls=tuple(read_crl(crl) for crl in crls),
        ocsp_responses=tuple(read_ocsp_response(response) for response in ocsp_responses),
    )
    return check_revocation(chain, data, rules=rules, now=now)


def part(**changes) -> tuple[x509.ExtensionType, bool]:
    """A list of one part of the certificates."""
    values = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**{**values, **changes}), True


def at(url: str) -> list[x509.GeneralName]:
    return [x509.UniformResourceIdentifier(url)]


def test_a_certificate_that_a_valid_list_does_not_name_passes_until_the_list_ends():
    assert check(make_crl(ROOT, [OTHER], next_update=NOW + DAY)) == NOW + DAY


def test_what_was_judged_holds_no_longer_than_the_certificate():
    assert check(make_crl(ROOT, next_update=NOW + 80 * DAY)) == LEAF.certificate.not_valid_after_utc


@pytest.mark.parametrize("rules", [REQUIRED, IF_KNOWN])
def test_a_certificate_that_a_valid_list_names_is_refused(rules):
    with pytest.raises(CertificateRefused, match="revoked"):
        check(make_crl(ROOT, [OTHER, LEAF]), rules=rules)


def test_one_list_that_names_it_outweighs_others_that_do_not():
    with pytest.raises(CertificateRefused, match="revoked"):
        check(make_crl(ROOT), make_crl(ROOT, [LEAF], last_update=NOW - DAY), make_crl(ROOT))


def test_of_several_lists_the_one_that_ends_last_tells_how_long_it_holds():
    assert check(make_crl(ROOT, next_update=NOW + HOUR), make_crl(ROOT, next_update=NOW + DAY)) == NOW + DAY


DOES_NOT_COUNT = {
    "none": [],
    "one that has ended": [make_crl(ROOT, last_update=NOW - DAY, next_update=NOW - timedelta(seconds=1))],
    "one of the future": [make_crl(ROOT, last_update=NOW + HOUR)],
    "one of another authority": [make_crl(make_ca("another"))],
    "one of an authority of the same name": [make_crl(make_ca("root"))],
    "one that somebody else signed": [make_crl(ROOT, key=new_key())],
    "one of changes only": [make_crl(ROOT, extensions=[(x509.DeltaCRLIndicator(1), True)])],
    "one of changes only, said softly": [make_crl(ROOT, extensions=[(x509.DeltaCRLIndicator(1), False)])],
    "one with what nobody knows": [
        make_crl(ROOT, extensions=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\x05\x00"), True)])
    ],
    "one of authorities only": [make_crl(ROOT, extensions=[part(only_contains_ca_certs=True)])],
    "one of attributes only": [make_crl(ROOT, extensions=[part(only_contains_attribute_certs=True)])],
    "one of some reasons only": [
        make_crl(ROOT, extensions=[part(only_some_reasons=frozenset([x509.ReasonFlags.key_compromise]))])
    ],
    "one for other authorities": [make_crl(ROOT, extensions=[part(indirect_crl=True)])],
    "one of another distribution point": [make_crl(ROOT, extensions=[part(full_name=at("http://crl.example/2.crl"))])],
    "one at a relative place": [
        make_crl(
            ROOT,
            extensions=[
                part(
                    relative_name=x509.RelativeDistinguishedName(
                        [x509.NameAttribute(x509.NameOID.COMMON_NAME, "part 1")]
                    )
                )
            ],
        )
    ],
}


@pytest.mark.parametrize("crls", DOES_NOT_COUNT.values(), ids=DOES_NOT_COUNT)
def test_without_a_list_that_counts_a_certificate_is_as_good_as_revoked(crls):
    with pytest.raises(CertificateRefused, match="no valid revocation list"):
        check(*crls)
    assert check(*crls, rules=IF_KNOWN) == LEAF.certificate.not_valid_after_utc


@pytest.mark.parametrize("extension", [part(only_contains_user_certs=True), part(full_name=at(CRL_URL))], ids=range(2))
def test_a_list_of_the_part_that_the_certificate_is_in_counts(extension):
    assert check(make_crl(ROOT, extensions=[extension]))
    with pytest.raises(CertificateRefused, match="revoked"):
        check(make_crl(ROOT, [LEAF], extensions=[extension]))


def test_an_authority_that_may_not_sign_lists_signs_none_that_count():
    root = make_ca("root", key_uses=KeyUses(cert_sign=True, crl_sign=False))
    with pytest.raises(CertificateRefused, match="no valid revocation list"):
        check(make_crl(root), chain=chain_of(make_certificate(root), root=root))


MIDDLE = make_ca("middle", issuer=ROOT)
BELOW = chain_of(make_certificate(MIDDLE), MIDDLE)


def test_each_certificate_of_the_chain_is_judged():
    assert check(make_crl(ROOT, next_update=NOW + HOUR), make_crl(MIDDLE), chain=BELOW) == NOW + HOUR
    for missing in (make_crl(ROOT), make_crl(MIDDLE)):
        with pytest.raises(CertificateRefused, match="no valid revocation list"):
            check(missing, chain=BELOW)
    with pytest.raises(CertificateRefused, match="revoked"):
        check(make_crl(ROOT, [MIDDLE]), make_crl(MIDDLE), chain=BELOW)


def test_a_list_of_end_entities_says_nothing_of_authorities():
    users_only = make_crl(ROOT, extensions=[part(only_contains_user_certs=True)])
    with pytest.raises(CertificateRefused, match="no valid revocation list"):
        check(users_only, make_crl(MIDDLE), chain=BELOW)
    assert check(make_crl(ROOT, extensions=[part(only_contains_ca_certs=True)]), make_crl(MIDDLE), chain=BELOW)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.BrainpoolP256R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["brainpoolP256r1", "Ed25519", "RSA"],
)
def test_lists_and_responses_with_each_kind_of_key_are_understood(key):
    root = make_ca("root", key=key)
    leaf = make_certificate(root)
    chain = chain_of(leaf, root=root)
    assert check(make_crl(root), chain=chain)
    assert check(chain=chain, rules=WITH_OCSP, ocsp_responses=[make_ocsp_response(root, leaf)])


def test_a_good_response_does_where_there_is_no_list():
    response = make_ocsp_response(ROOT, LEAF, next_update=NOW + HOUR)
    assert check(rules=WITH_OCSP, ocsp_responses=[response]) == NOW + HOUR
    with pytest.raises(CertificateRefused, match="no valid revocation list"):
        check(rules=REQUIRED, ocsp_responses=[response])


def test_a_response_that_it_was_revoked_outweighs_a_list():
    response = make_ocsp_response(ROOT, LEAF, is_revoked=True)
    with pytest.raises(CertificateRefused, match="revoked"):
        check(make_crl(ROOT), rules=WITH_OCSP, ocsp_responses=[response])


def responder(issuer: Certified = ROOT, usages=(OCSP_SIGNING,), extensions=(NO_CHECK,), **options) -> Certified:
    return make_certificate(issuer, [], list(usages), common_name="responder", extensions=list(extensions), **options)


def test_a_responder_that_the_authority_certified_for_it_may_answer():
    assert check(rules=WITH_OCSP, ocsp_responses=[make_ocsp_response(ROOT, LEAF, responder=responder())])


BAD_RESPONSES = {
    "about another certificate": make_ocsp_response(ROOT, OTHER),
    "of another authority": make_ocsp_response(make_ca("another"), LEAF),
    "of an authority of the same name": make_ocsp_response(make_ca("root"), LEAF),
    "that has ended": make_ocsp_response(ROOT, LEAF, this_update=NOW - DAY, next_update=NOW - HOUR),
    "of the future": make_ocsp_response(ROOT, LEAF, this_update=NOW + HOUR),
    "without an end": make_ocsp_response(ROOT, LEAF, next_update=None),
    "of an organisation's server": make_ocsp_response(ROOT, LEAF, responder=OTHER),
    "of a responder without the usage": make_ocsp_response(ROOT, LEAF, responder=responder(usages=[])),
    "of a responder to be asked about": make_ocsp_response(ROOT, LEAF, responder=responder(extensions=[])),
    "of a responder that has expired": make_ocsp_response(ROOT, LEAF, responder=responder(not_after=NOW - HOUR)),
    "of a responder of another authority": make_ocsp_response(ROOT, LEAF, responder=responder(make_ca("root"))),
    "of a responder one step too low": make_ocsp_response(ROOT, LEAF, responder=responder(MIDDLE)),
}


@pytest.mark.parametrize("response", BAD_RESPONSES.values(), ids=BAD_RESPONSES)
def test_a_response_that_does_not_count_speaks_for_nobody(response):
    with pytest.raises(CertificateRefused, match="no valid revocation list"):
        check(rules=WITH_OCSP, ocsp_responses=[response])


def test_a_response_that_was_tampered_with_speaks_for_nobody():
    root = make_ca("root", key=ed25519.Ed25519PrivateKey.generate())  # whose signatures are all of the same length
    leaf = make_certificate(root)
    good, revoked = make_ocsp_response(root, leaf), make_ocsp_response(root, leaf, is_revoked=True)
    forged = good.replace(read_ocsp_response(good).signature, read_ocsp_response(revoked).signature)
    with pytest.raises(CertificateRefused, match="no valid revocation list"):
        check(chain=chain_of(leaf, root=root), rules=WITH_OCSP, ocsp_responses=[forged])


def test_a_responder_that_answers_with_an_error_is_not_heard():
    error = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
    with pytest.raises(CertificateRefused, match="error"):
        read_ocsp_response(error.public_bytes(serialization.Encoding.DER))


@given(st.binary(max_size=300))
def test_any_bytes_are_neither_a_list_nor_a_response(data):
    for read in (read_crl, read_ocsp_response):
        with pytest.raises(CertificateRefused):
            read(data)


def test_what_is_too_large_is_not_read(monkeypatch):
    monkeypatch.setattr("tim_server.trust.crls.CRL_BYTES_MAX", 10)
    with pytest.raises(CertificateRefused, match="bytes"):
        read_crl(make_crl(ROOT))
    with pytest.raises(CertificateRefused, match="bytes"):
        read_ocsp_response(b"\x30" * 100_000)


def test_a_list_in_pem_is_read_too():
    crl = read_crl(make_crl(ROOT))
    assert read_crl(crl.public_bytes(serialization.Encoding.PEM)) == crl


def test_sources_are_the_addresses_in_the_certificates_of_the_chain():
    middle = make_ca("middle", issuer=ROOT, extensions=[crl_points("http://crl.example/middle.crl")])
    leaf = make_certificate(
        middle,
        crl_urls=["http://crl.example/leaf.crl", "ldap://crl.example/cn=x", "file:///etc/passwd"],
        ocsp_urls=["http://ocsp.example/", "ldap://ocsp.example"],
    )
    sources = revocation_sources(chain_of(leaf, middle))
    assert sources.crl_urls == ("http://crl.example/leaf.crl", "http://crl.example/middle.crl")
    (query,) = sources.ocsp_queries
    assert query.url == "http://ocsp.example/"
    assert ocsp.load_der_ocsp_request(query.request).serial_number == leaf.certificate.serial_number


def crl_points(url: str) -> tuple[x509.ExtensionType, bool]:
    return x509.CRLDistributionPoints([x509.DistributionPoint(at(url), None, None, None)]), False


def test_a_certificate_with_a_hundred_addresses_has_a_few_fetched():
    greedy = make_certificate(
        ROOT,
        crl_urls=[f"http://{n}.example/" for n in range(100)],
        ocsp_urls=[f"http://{n}.example/" for n in range(100)],
    )
    sources = revocation_sources(chain_of(greedy))
    assert len(sources.crl_urls) == len(crl_urls(greedy.certificate)) == 8
    assert len(sources.ocsp_queries) == 4


def test_a_certificate_without_addresses_has_nothing_fetched():
    sources = revocation_sources(chain_of(OTHER))
    assert sources.crl_urls == () and sources.ocsp_queries == ()
