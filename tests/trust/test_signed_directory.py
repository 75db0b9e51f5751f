"""A signed directory is accepted from whom an anchor lets sign it, and from nobody else."""

from tests.certificates import NOW
from tests.trust.circle import RULES, directory_json, make_directory, sign
from tim_server.trust.directory import encode_directory
from tim_server.trust.signed_directory import verify_directory


def test_a_directory_that_an_anchor_vouches_for_is_accepted():
    accepted = verify_directory(sign(directory_json()), rules=RULES, now=NOW)
    assert accepted.directory.version == 7
    assert [each.id for each in accepted.directory.organisations] == ["a"]


def test_a_directory_is_read_as_it_was_written():
    directory = make_directory()
    assert verify_directory(sign(encode_directory(directory)), rules=RULES, now=NOW).directory == directory
