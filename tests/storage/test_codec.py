"""Fingerprints of content: equal for equal content, and without the key nothing to guess by."""

import hashlib

from tim_server.storage.codec import Codec, make_codec


def test_equal_contents_have_equal_fingerprints() -> None:
    for codec in (make_codec(None), make_codec(b"\x01" * 32)):
        assert codec.fingerprint(b"content") == codec.fingerprint(b"content")
        assert codec.fingerprint(b"content") != codec.fingerprint(b"other content")


def test_a_newer_key_changes_no_fingerprint() -> None:
    old, new = make_codec(b"\x01" * 32), make_codec(b"\x02" * 32)
    assert Codec((*new.keys, *old.keys)).fingerprint(b"x") == old.fingerprint(b"x")


def test_who_has_not_the_key_can_not_make_the_fingerprint() -> None:
    sealing = make_codec(b"\x01" * 32)
    others = (make_codec(b"\x02" * 32), make_codec(None))
    assert sealing.fingerprint(b"x") not in {other.fingerprint(b"x") for other in others}
    assert sealing.fingerprint(b"x") != hashlib.blake2b(b"x", key=b"\x01" * 32, digest_size=16).digest()
