"""How a homeserver asks for a directory."""

import pytest

from tim_server.trust.publication import directory_request_url


@pytest.mark.parametrize(
    ("url", "version", "asked"),
    [
        ("https://trust.example/directory.jws", None, "https://trust.example/directory.jws"),
        ("https://trust.example/directory.jws", 7, "https://trust.example/directory.jws?version=7"),
        ("https://trust.example/?circle=north", 7, "https://trust.example/?circle=north&version=7"),
    ],
)
def test_a_request_tells_the_version_that_is_there_already(url, version, asked):
    assert directory_request_url(url, version) == asked
