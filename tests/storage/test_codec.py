"""Fingerprints of content: equal for equal content, and without the key nothing to guess by."""

import hashlib

from tim_server.storage.codec import Codec, make_codec


def test_equal_contents_have_equal_fingerprints() -> None:
    for codec in (make_codec(None), make_codec(b"\x01" * 32)):
        assert codec.fingerprint(b"content") == codec.fingerprint(b"content")
        assert codec.fingerprint(b"content") != codec.fingerprint(b"other content")


def of_parts(codec: Codec, *parts: bytes) -> bytes:
    fingerprint = codec.fingerprint_of_parts()
    for part in parts:
        fingerprint.update(part)
    return fingerprint.digest()


def test_fingerprints_of_parts_are_those_of_the_whole() -> None:
    codec, other = make_codec(b"\x01" * 32), make_codec(b"\x02" * 32)
    whole = of_parts(codec, b"some content")
    assert (
        whole
        == of_parts(codec, b"some ", b"", b"content")
        == of_parts(Codec((*other.keys, *codec.keys)), b"some content")
    )
    assert len({whole, of_parts(other, b"some content"), of_parts(codec, b"some content\0"), of_parts(codec)}) == 4
    assert whole not in (codec.fingerprint(b"some content"), of_parts(make_codec(None), b"some content"))


def test_a_newer_key_changes_no_fingerprint() -> None:
    old, new = make_codec(b"\x01" * 32), make_codec(b"\x02" * 32)
    assert Codec((*new.keys, *old.keys)).fingerprint(b"x") == old.fingerprint(b"x")


def test_who_has_not_the_key_can_not_make_the_fingerprint() -> None:
    sealing = make_codec(b"\x01" * 32)
    others = (make_codec(b"\x02" * 32), make_codec(None))
    assert sealing.fingerprint(b"x") not in {other.fingerprint(b"x") for other in others}
    assert sealing.fingerprint(b"x") != hashlib.blake2b(b"x", key=b"\x01" * 32, digest_size=16).digest()
