"""Which files a content refers to."""

import pytest

from tim_server.matrix.media_references import media_named_in

NAMED = ("hospital.example:8448", "AQwafuaFswefuhsfAFAgsw_-")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b'{"url":"mxc://%b/%b"}', id="as a value"),
        pytest.param(b'{"mxc://%b/%b":1}', id="as a key"),
        pytest.param(b'["mxc:\\/\\/%b\\/%b"]', id="with escaped slashes"),
        pytest.param(b'{"formatted_body":"<img src=\\"mxc://%b/%b\\" alt=\\"\\">"}', id="within HTML"),
        pytest.param(b'{"body":"see mxc://%b/%b, and mxc://"}', id="within text"),
        pytest.param(b'{"url":"mxc://%b/%b?a=b#c"}', id="with more behind it"),
    ],
)
def test_a_file_is_found_wherever_it_stands(content: bytes) -> None:
    assert media_named_in(content % tuple(part.encode() for part in NAMED)) == {NAMED}


def test_all_of_several_files_are_found() -> None:
    assert media_named_in(b'{"a":"mxc://one/1","b":["mxc://two/2","mxc://one/1"]}') == {("one", "1"), ("two", "2")}


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b'{"url":"https://hospital.example/1"}',
        b'{"url":"mxc://"}',
        b'{"url":"mxc:///1"}',
        b'{"url":"mxc://a b/1"}',
    ],
    ids=["nothing", "a web page", "no name", "no server", "no server's name"],
)
def test_what_names_no_file(content: bytes) -> None:
    assert media_named_in(content) == set()


def test_what_is_no_text_is_no_trouble() -> None:
    assert media_named_in(b"\xff\xfemxc://\xff/1 mxc://a/1") == {("\N{REPLACEMENT CHARACTER}", "1"), ("a", "1")}
