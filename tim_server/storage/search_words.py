"""The words by which names are found: without regard to case, accents and punctuation."""

import re
import unicodedata

WORDS_MAX = 32
WORD_LENGTH_MAX = 64

_WORD = re.compile(r"[^\W_]+")


def folded(text: str) -> str:
    """The text as it is compared: `É` and `e` are the same."""
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    return "".join(c for c in unicodedata.normalize("NFKD", decomposed) if not unicodedata.combining(c))


def words_of(text: str) -> list[str]:
    """The words of a text in order, each once, long ones cut; at most `WORDS_MAX`."""
    found = (word[:WORD_LENGTH_MAX] for word in _WORD.findall(folded(text)))
    return list(dict.fromkeys(found))[:WORDS_MAX]
