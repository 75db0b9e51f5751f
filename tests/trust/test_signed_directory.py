"""A signed directory is accepted from whom an anchor lets sign it, in its time, and never an older one after it."""

import base64
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.certificates import CLIENT, DAY, HOUR, NOW, SERVER, KeyUses, make_ca, make_certificate, make_crl
from tests.trust.circle import (
    ROOT,
    RULES,
    SIGNER,
    SIGNING,
    directory_json,
    make_directory,
    organisation_json,
    sign,
    with_header,
)
from tim_server.trust import signed_directory as module
from tim_server.trust.crls import read_crl
from tim_server.trust.directory import DirectoryRefused, encode_directory
from tim_server.trust.revocation import RevocationData
from tim_server.trust.signed_directory import (
    AcceptedVersion,
    SignedDirectory,
    SignerRules,
    Succession,
    check_signer,
    check_succession,
    freshness,
    sign_directory,
    verify_directory,
)

ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
TOKEN = sign(directory_json())
POLICY = "1.2.276.0.76.4.163"


def accept(token: bytes, rules: SignerRules = RULES, now=NOW) -> SignedDirectory:
    return verify_directory(token, rules=rules, now=now)


def policy_extension(policy: str) -> tuple[x509.ExtensionType, bool]:
    return x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier(policy), None)]), False


def test_a_directory_that_an_anchor_vouches_for_is_accepted():
    accepted = accept(TOKEN)
    assert accepted.directory.version == 7
    assert [each.id for each in accepted.directory.organisations] == ["a"]
    assert accepted.signer.leaf == SIGNER.certificate
    assert accepted.signer.certificates[-1] == ROOT.certificate


def test_a_directory_is_read_as_it_was_written():
    directory = make_directory()
    token = sign_directory(directory, key=SIGNER.key, certificates=SIGNER.chain)
    assert accept(token).directory == directory


def test_the_signer_may_stand_below_an_intermediate_authority():
    middle = make_ca("middle", issuer=ROOT)
    below = make_certificate(middle, [], [SIGNING])
    assert accept(sign(directory_json(), below)).signer.certificates[1] == middle.certificate


BAD_SIGNERS = {
    "an organisation's server": make_certificate(ROOT, ["a.example"]),
    "a server that may sign directories too": make_certificate(ROOT, ["a.example"], [SERVER, SIGNING]),
    "who may do anything": make_certificate(ROOT, [], [ANY, SIGNING]),
    "whose usage is not limited": make_certificate(ROOT, [], None),
    "a client": make_certificate(ROOT, [], [CLIENT]),
    "whose key may not sign": make_certificate(
        ROOT, [], [SIGNING], key_uses=KeyUses(digital_signature=False, encipherment=True)
    ),
    "without a key usage": make_certificate(ROOT, [], [SIGNING], key_uses=None),
    "the anchor itself": ROOT,
    "an authority": make_ca("middle", issuer=ROOT),
    "whose certificate has expired": make_certificate(ROOT, [], [SIGNING], not_after=NOW - HOUR),
    "whose certificate is not yet valid": make_certificate(ROOT, [], [SIGNING], not_before=NOW + HOUR),
    "self-signed": make_certificate(None, [], [SIGNING], common_name="signer of directories"),
    "of a stranger's authority": make_certificate(make_ca("root of the circle"), [], [SIGNING]),
    "below an organisation's server": make_certificate(make_certificate(ROOT), [], [SIGNING]),
}


@pytest.mark.parametrize("signer", BAD_SIGNERS.values(), ids=BAD_SIGNERS)
def test_whoever_may_not_sign_directories_signs_none(signer):
    with pytest.raises(DirectoryRefused, match="signature is not accepted"):
        accept(sign(directory_json(), signer))


def test_a_signer_without_its_intermediate_is_refused():
    below = make_certificate(make_ca("middle", issuer=ROOT), [], [SIGNING])
    token = sign(directory_json(), below)
    with pytest.raises(DirectoryRefused, match="no chain"):
        accept(with_header(token, x5c=[base64.b64encode(below.der).decode()]))


@pytest.mark.parametrize("changes", [{"alg": "none"}, {"alg": "ES384"}, {"alg": "HS256"}, {"typ": "JWT"}])
def test_another_header_is_refused(changes):
    with pytest.raises(DirectoryRefused):
        accept(with_header(TOKEN, **changes))


def test_a_payload_that_was_tampered_with_is_refused():
    header, _, signature = TOKEN.split(b".")
    other = sign(directory_json(organisation_json(server_names=["evil.example"]))).split(b".")[1]
    with pytest.raises(DirectoryRefused, match="signature is wrong"):
        accept(b".".join([header, other, signature]))


def test_a_document_of_another_type_by_the_same_signer_is_no_directory():
    with pytest.raises(DirectoryRefused, match="type"):
        accept(sign(directory_json(), document_type="other+jws"))


def test_a_directory_that_says_too_little_is_refused_though_it_is_signed():
    with pytest.raises(DirectoryRefused, match="no kind"):
        accept(sign(directory_json(organisation_json(kind=None))))


def test_a_directory_that_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(module, "DIRECTORY_BYTES_MAX", len(TOKEN) - 1)
    with pytest.raises(DirectoryRefused, match="bytes"):
        accept(TOKEN)


def test_a_directory_is_accepted_in_its_time_only():
    expires = NOW + 30 * DAY
    assert accept(sign(directory_json()), now=expires - timedelta(seconds=1))
    with pytest.raises(DirectoryRefused, match="expired"):
        accept(TOKEN, now=expires + timedelta(seconds=1))
    early = sign(directory_json(issued=(NOW + HOUR).strftime("%Y-%m-%dT%H:%M:%SZ")))
    with pytest.raises(DirectoryRefused, match="future"):
        accept(early)
    assert accept(early, now=NOW + HOUR - timedelta(minutes=4))  # clocks differ a little


def test_a_revoked_signer_is_refused_and_one_that_nothing_is_known_of_is_not():
    signer = accept(TOKEN).signer
    clean, revoking = read_crl(make_crl(ROOT)), read_crl(make_crl(ROOT, [SIGNER]))
    check_signer(signer, RevocationData(), NOW)
    check_signer(signer, RevocationData(crls=(clean,)), NOW)
    with pytest.raises(DirectoryRefused, match="revoked"):
        check_signer(signer, RevocationData(crls=(clean, revoking)), NOW)


NAMED = SignerRules(anchors=(ROOT.certificate,), common_name="List Signer")
WITH_POLICY = SignerRules(anchors=(ROOT.certificate,), policy=POLICY)
BOTH = SignerRules(anchors=(ROOT.certificate,), common_name="List Signer", policy=POLICY)


@pytest.mark.parametrize(
    ("rules", "name", "policy", "is_accepted"),
    [
        (NAMED, "List Signer", None, True),
        (NAMED, "list signer", None, False),
        (NAMED, "Another", None, False),
        (WITH_POLICY, "Another", POLICY, True),
        (WITH_POLICY, "Another", "1.2.3", False),
        (WITH_POLICY, "Another", None, False),
        (BOTH, "List Signer", POLICY, True),
        (BOTH, "List Signer", None, False),
        (BOTH, "Another", POLICY, False),
    ],
)
def test_a_name_or_a_policy_can_stand_for_the_extended_key_usage(rules, name, policy, is_accepted):
    extensions = [policy_extension(policy)] if policy else []
    signer = make_certificate(ROOT, [], None, common_name=name, extensions=extensions)
    if is_accepted:
        assert accept(sign(directory_json(), signer), rules)
    else:
        with pytest.raises(DirectoryRefused):
            accept(sign(directory_json(), signer), rules)


@pytest.mark.parametrize("usages", [[SERVER], [ANY], None])
def test_a_server_of_that_name_still_signs_no_directory(usages):
    server = make_certificate(ROOT, ["a.example"], usages, common_name="List Signer")
    with pytest.raises(DirectoryRefused):
        accept(sign(directory_json(), server), NAMED)


def test_a_second_common_name_does_not_help():
    names = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COMMON_NAME, "a.example"),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, "List Signer"),
        ]
    )
    signer = make_certificate(ROOT, [], None, subject=names)
    with pytest.raises(DirectoryRefused, match="common name"):
        accept(sign(directory_json(), signer), NAMED)


def signed(version: int, payload_sha256: str = "a") -> SignedDirectory:
    return SignedDirectory(
        directory=make_directory(version=version), payload_sha256=payload_sha256, signer=accept(TOKEN).signer
    )


@pytest.mark.parametrize(
    ("version", "content", "outcome"),
    [
        (8, "a", Succession.NEWER),
        (100, "b", Succession.NEWER),
        (7, "a", Succession.SAME),
        (7, "b", None),
        (6, "a", None),
    ],
)
def test_an_older_directory_does_not_replace_a_newer_one(version, content, outcome):
    last = AcceptedVersion(version=7, payload_sha256="a")
    if outcome is None:
        with pytest.raises(DirectoryRefused, match="version"):
            check_succession(signed(version, content), last)
    else:
        assert check_succession(signed(version, content), last) is outcome


def test_the_first_directory_follows_none():
    assert check_succession(signed(1), None) is Succession.NEWER


def test_signing_the_same_content_anew_changes_nothing():
    payload = encode_directory(make_directory())
    one, other = sign(payload), sign(payload)
    assert one != other
    assert accept(one).payload_sha256 == accept(other).payload_sha256


def test_a_directory_past_its_time_raises_an_alarm():
    directory = make_directory()
    assert freshness(directory, directory.expires) == module.Freshness(is_stale=False, alarm=None)
    stale = freshness(directory, directory.expires + timedelta(hours=49, minutes=59))
    assert stale.is_stale
    assert stale.alarm == "the directory, version 7, expired 49 hours ago and no newer one was accepted"
