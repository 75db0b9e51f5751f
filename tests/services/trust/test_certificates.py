"""What a server presents proves who it is, or does not; what was proved holds until something changes or expires."""

import itertools
from contextlib import suppress
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from structlog.testing import capture_logs

from tests.certificates import (
    CLIENT,
    DAY,
    HOUR,
    NOW,
    SERVER,
    Certified,
    KeyUses,
    make_ca,
    make_certificate,
    make_crl,
)
from tests.services.trust.certifying import IF_KNOWN, OCSP, WITH_OCSP, Hosts, Member
from tests.trust.circle import certificate_pin
from tim_server.matrix.identifiers import ServerName
from tim_server.storage.store import Store
from tim_server.trust.certificates import CertificateRefused, public_key_sha256
from tim_server.trust.directory import Pin, PinnedPart
from tim_server.trust.organisation_certificate import Direction

_numbers = itertools.count()


@pytest.fixture
async def member(store: Store) -> Member:
    """A member whose directory lists a.example and b.example; its authority's list names nobody."""
    member = Member(store, url=f"http://crl.example/{next(_numbers)}.crl")
    await member.list(member.organisation("a"), member.organisation("b"))
    member.publish()
    return member


async def test_the_certificate_of_a_listed_server_proves_it(member: Member) -> None:
    certified = member.certify()
    proved = await member.prove(certified)
    assert (proved.server_name, proved.organisation_id) == ("a.example", "a")
    assert proved.holds_until == NOW + 7 * DAY  # the list's next update
    for _ in range(3):
        await member.prove(certified)
    assert len(member.hosts.asked) == 1


OTHER = make_ca("another authority")
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"not_after": NOW - HOUR}, "expired"),
    "not yet valid": ({"not_before": NOW + HOUR}, "not yet valid"),
    "for another name": ({"names": ["b.example"]}, "does not name a.example"),
    "for a wildcard": ({"names": ["*.example"]}, "does not name a.example"),
    "without names": ({"names": [], "common_name": "a.example"}, "does not name a.example"),
    "for clients only": ({"usages": (CLIENT,)}, "serverAuth"),
    "for code": ({"usages": (ExtendedKeyUsageOID.CODE_SIGNING,)}, "serverAuth"),
    "without usages": ({"usages": None}, "serverAuth"),
    "for encryption only": ({"key_uses": KeyUses(digital_signature=False, encipherment=True)}, "digitalSignature"),
    "without a list": ({"crl_urls": []}, "no valid revocation list"),
    "with a list elsewhere": ({"crl_urls": ["http://elsewhere.example/x.crl"]}, "no valid revocation list"),
}


@pytest.mark.parametrize(("options", "reason"), CASES.values(), ids=list(CASES))
async def test_a_certificate_that_is_not_right_proves_nothing(
    member: Member, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(CertificateRefused, match=reason):
        await member.prove(member.certify(**options))
    assert "http://elsewhere.example/x.crl" not in member.hosts.asked


@pytest.mark.parametrize("issuer", [OTHER, None], ids=["another authority's", "self-signed"])
async def test_nothing_is_fetched_for_a_certificate_that_reaches_no_anchor(member: Member, issuer: Any) -> None:
    with pytest.raises(CertificateRefused, match="no chain"):
        await member.prove(make_certificate(issuer, ["a.example"], crl_urls=[member.url]))
    assert member.hosts.asked == []


async def test_the_certificate_of_another_member_is_not_enough(member: Member) -> None:
    certified = member.certify(["a.example", "b.example"])
    await member.list(member.organisation("a", issuers=(), certificates=(certificate_pin(member.certify()),)))
    with pytest.raises(CertificateRefused, match="not one that the directory lists"):
        await member.prove(certified)
    with pytest.raises(CertificateRefused, match="no directory lists"):
        await member.prove(certified, "b.example")


async def test_a_client_certificate_may_be_one_for_servers(member: Member) -> None:
    await member.prove(member.certify(usages=(SERVER,)), direction=Direction.INCOMING)
    with pytest.raises(CertificateRefused):
        await member.prove(member.certify(usages=(CLIENT,)), direction=Direction.OUTGOING)


async def test_a_delisted_server_proves_nothing_any_more(member: Member) -> None:
    certified = member.certify()
    await member.prove(certified)
    await member.list(member.organisation("b"))
    with pytest.raises(CertificateRefused, match="no directory lists"):
        await member.prove(certified)


async def test_what_changes_while_a_certificate_is_verified_counts_at_once(member: Member) -> None:
    """The directory does not know the certificate any more, once its list has arrived."""
    certified = member.certify()
    others = member.organisation("a", issuers=(), certificates=(certificate_pin(member.certify()),))
    fetch = member.hosts.get

    async def slow(url: str, *, size_bytes_max: int) -> bytes:
        await member.list(others)
        return await fetch(url, size_bytes_max=size_bytes_max)

    member.hosts.get = slow  # type: ignore[method-assign]
    with suppress(CertificateRefused):
        await member.prove(certified)
    with pytest.raises(CertificateRefused, match="not one that the directory lists"):
        await member.prove(certified)


async def test_a_revoked_certificate_is_refused_once_the_list_is_fetched_again(member: Member) -> None:
    certified = member.certify()
    await member.prove(certified)
    await member.lists.tick()
    member.publish(certified)
    member.clock.advance(299)
    await member.lists.tick()
    await member.prove(certified)
    member.clock.advance(1)
    await member.lists.tick()
    with pytest.raises(CertificateRefused, match="revoked"):
        await member.prove(certified)
    await member.prove(member.certify())


async def test_an_older_list_does_not_bring_a_revoked_certificate_back(member: Member) -> None:
    certified = member.certify()
    member.publish(certified, last_update=NOW)
    member.clock.advance(1)
    for each in (member, member.restarted()):
        await each.list(each.organisation("a"))
        with pytest.raises(CertificateRefused, match="revoked"):
            await each.prove(certified)
        member.publish(last_update=NOW - HOUR)
        with capture_logs() as logs:
            await each.lists.refresh(pause_ms=0)
        assert logs[0]["event"] == "revocation_list_not_refreshed" and "older" in logs[0]["reason"]
        with pytest.raises(CertificateRefused, match="revoked"):
            await each.prove(certified)


@pytest.mark.parametrize(
    "document", [b"", b"<html>", make_certificate(OTHER).der], ids=["nothing", "a page", "no list"]
)
async def test_what_is_no_list_leaves_the_one_before(member: Member, document: bytes) -> None:
    certified = member.certify()
    await member.prove(certified)
    member.hosts.documents[member.url] = document
    await member.lists.refresh(pause_ms=0)
    await member.prove(certified)


async def test_after_an_authority_has_changed_its_key_its_new_list_counts_for_new_certificates(store: Store) -> None:
    """The lists of the old and the new key are published one after the other at the same place."""
    old, new = make_ca("renewed"), make_ca("renewed")
    member = Member(store, root=old, url="http://crl.example/renewed.crl")
    member.certificates.anchors = (old.certificate, new.certificate)
    await member.list(member.organisation("a", issuers=(issuer_pin(old), issuer_pin(new))))
    member.publish()
    before = member.certify()
    await member.prove(before)
    after = make_certificate(new, ["a.example"], crl_urls=[member.url])
    member.hosts.documents[member.url] = make_crl(new)
    member.clock.advance(60)
    await member.prove(after)
    await member.prove(before)  # by the old list, until its next update
    member.hosts.documents[member.url] = make_crl(new, [after], last_update=NOW)
    await member.lists.refresh(pause_ms=0)
    with pytest.raises(CertificateRefused, match="revoked"):
        await member.prove(after)
    await member.prove(before)


def issuer_pin(authority: Certified) -> Pin:
    return Pin(part=PinnedPart.PUBLIC_KEY, digest=public_key_sha256(authority.certificate))


async def test_a_list_of_another_authority_does_not_count(member: Member) -> None:
    member.publish(key=OTHER.key)
    with pytest.raises(CertificateRefused, match="no valid revocation list"):
        await member.prove(member.certify())


async def test_a_list_serves_until_its_next_update_and_no_longer(member: Member) -> None:
    certified = member.certify()
    member.publish(next_update=NOW + DAY)
    await member.prove(certified)
    member.hosts.documents.clear()
    member.clock.advance(86_400 - 10)
    await member.lists.tick()
    await member.prove(certified)
    member.clock.advance(20)
    with pytest.raises(CertificateRefused, match="no valid revocation list"):
        await member.prove(certified)
    member.publish()
    member.clock.advance(30)
    await member.prove(certified)


async def test_without_the_list_nobody_is_let_in_unless_the_rules_say_so(member: Member) -> None:
    member.hosts.documents.clear()
    certified = member.certify()
    for _ in range(5):
        with pytest.raises(CertificateRefused):
            await member.prove(certified)
    assert len(member.hosts.asked) == 1  # asked again after a while only
    lenient = member.restarted(rules=IF_KNOWN)
    await lenient.list(lenient.organisation("a"))
    await lenient.prove(certified)
    lenient.publish(certified)
    lenient.clock.advance(30)
    await lenient.lists.refresh(pause_ms=0)
    with pytest.raises(CertificateRefused, match="revoked"):
        await lenient.prove(certified)


async def test_after_a_restart_lists_come_from_the_database(member: Member) -> None:
    certified, revoked = member.certify(), member.certify()
    member.publish(revoked)
    await member.prove(certified)
    again = member.restarted(hosts=Hosts())
    await again.list(again.organisation("a"))
    await again.prove(certified)
    with pytest.raises(CertificateRefused, match="revoked"):
        await again.prove(revoked)
    assert again.hosts.asked == []


async def test_one_process_fetches_a_list_and_the_others_follow(member: Member) -> None:
    other = member.restarted()
    await other.list(other.organisation("a"))
    certified = member.certify()
    for each in (member, other):
        await each.prove(certified)
        await each.lists.tick()
    assert len(member.hosts.asked) == 1
    member.store.commit_log.subscribe(other.lists.follow)
    member.publish(certified)
    member.clock.advance(300)
    await member.lists.tick()
    await other.lists.tick()
    assert len(member.hosts.asked) == 2
    for each in (member, other):
        with pytest.raises(CertificateRefused, match="revoked"):
            await each.prove(certified)


async def test_ocsp_speaks_for_a_certificate_and_against_it(store: Store) -> None:
    member = Member(store, rules=WITH_OCSP)
    await member.list(member.organisation("a"))
    certified = member.certify(crl_urls=[], ocsp_urls=[OCSP])
    with pytest.raises(CertificateRefused, match="no valid revocation list"):
        await member.prove(certified)
    member.answer_ocsp(certified)
    member.clock.advance(30)
    await member.prove(certified)
    member.answer_ocsp(certified, is_revoked=True)
    await member.prove(certified)
    member.clock.advance(300)
    with pytest.raises(CertificateRefused, match="revoked"):
        await member.prove(certified)


async def test_ocsp_is_asked_only_where_it_is_configured(store: Store) -> None:
    member = Member(store, rules=IF_KNOWN)
    await member.list(member.organisation("a"))
    await member.prove(member.certify(crl_urls=[], ocsp_urls=[OCSP]))
    assert member.hosts.asked == []


async def test_what_was_proved_is_written_down(member: Member) -> None:
    certified = member.certify()
    proved = await member.prove(certified, "A.example")
    for _ in range(2):
        (stored,) = await member.certificates.proved_before(ServerName("a.example"))
        assert (stored.sha256, stored.chain, stored.organisation_id) == (proved.sha256, (certified.der,), "a")
        assert stored.serial == f"{certified.certificate.serial_number:x}"
        await member.certificates.flush()
    for _ in range(6):
        member.clock.advance(1)
        await member.prove(member.certify())
        await member.certificates.flush()
    assert len(await member.certificates.proved_before(ServerName("a.example"))) == 4


async def test_expired_certificates_and_unused_lists_are_reaped(member: Member) -> None:
    await member.prove(member.certify())
    await member.certificates.flush()
    member.clock.advance(40 * 86_400)
    await member.certificates.reap()
    await member.lists.reap()
    assert await member.certificates.proved_before(ServerName("a.example")) == []
    async with member.store.database.read() as tx:
        assert await tx.fetchval("SELECT count(*) FROM trust_crls") == 0
