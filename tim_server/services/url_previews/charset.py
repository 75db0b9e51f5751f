"""In which encoding a page is written, as browsers find out: a byte order mark, the header, what the page says itself;
else UTF-8 where it is that, and otherwise what most old pages are in.

Source: https://html.spec.whatwg.org/#encoding-sniffing-algorithm, https://encoding.spec.whatwg.org/#names-and-labels
"""

import codecs
import re

SNIFFED_BYTES = 1_024
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_SAID = re.compile(rb"""(?:charset|encoding)[ \t\r\n]*=[ \t\r\n]*["']?[ \t]*([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)
_LATIN = "cp1252"
_CODECS = {
    **{f"cp{number}": f"cp{number}" for number in (866, 874, *range(1250, 1259))},
    **{f"iso8859-{part}": f"iso8859-{part}" for part in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)},
    **{
        name: name
        for name in ("utf-8", "koi8-r", "koi8-u", "big5", "euc_jp", "iso2022_jp", "shift_jis", "euc_kr", "mac-roman")
    },
    "ascii": _LATIN,
    "iso8859-1": _LATIN,
    "iso8859-9": "cp1254",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "gb18030": "gb18030",
    "utf-16-le": "utf-16-le",
    "utf-16-be": "utf-16-be",
    "utf-16": "utf-16-le",
}
"""What pages may be in, by the name that Python has for what they say. Python knows more, of which some are no
encodings of text, or take long."""


def decode_page(content: bytes, content_type: str) -> str:
    """The text of a page, with U+FFFD for what is not of its encoding."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, errors="replace")
    said = _encoding_said(content_type.encode(errors="replace")) or _encoding_in_page(content)
    return content.decode(said or _guessed(content), errors="replace")


def _encoding_said(text: bytes) -> str | None:
    match = _SAID.search(text)
    if match is None:
        return None
    try:
        return _CODECS.get(codecs.lookup(match[1].decode()).name)
    except LookupError:
        return None


def _encoding_in_page(content: bytes) -> str | None:
    encoding = _encoding_said(content[:SNIFFED_BYTES])
    return "utf-8" if encoding is not None and encoding.startswith("utf-16") else encoding  # else it was not readable


def _guessed(content: bytes) -> str:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(content)  # which may end within a letter
    except UnicodeDecodeError:
        return _LATIN
    return "utf-8"
