"""Glob-style matching, and the time that it takes at worst.

Spec: https://spec.matrix.org/v1.19/appendices/#glob-style-matching
"""

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tim_server.matrix.globs import star_glob, whole_value_glob, words_glob, words_literal


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("lunc?*", "Lunch plans", True),
        ("lunc?*", "LUNCH", True),
        ("lunc?*", " lunch", False),
        ("lunc?*", "lunc", False),
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("*", "anything\nat all", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("*b*", "abc", True),
        ("a.c", "abc", False),
        ("a\nb", "a\nb", True),
        ("a", "a\n", False),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
    ],
)
def test_a_whole_value_glob_matches_the_entire_value_whatever_the_case(pattern, text, matches):
    assert whole_value_glob(pattern).matches(text) is matches


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("ex*ple", "An example event.", True),
        ("ex*ple", "exple", True),
        ("ex*ple", "An exciting triple-whammy", True),
        ("ex*ple", "An exciting triplet", False),
        ("ex*ple", "A vexing triple", False),
        ("cake", "CAKE!", True),
        ("cake", "cakes", False),
        ("cake", "pan_cake", False),
        ("cake", "cupcake, cake", True),
        ("c?ke", "a coke", True),
        ("*cake", "cupcake", True),
        ("cup*", "cupcake", True),
        ("@room", "hello @room", True),
        ("müller", "Frau Müller kommt", True),
        ("tea", "It's time for tea", True),
        ("time*tea", "time for\ntea", True),
    ],
)
def test_a_words_glob_matches_a_part_that_starts_and_ends_at_word_boundaries(pattern, text, matches):
    assert words_glob(pattern).matches(text) is matches


def test_in_a_star_glob_only_the_star_is_a_wildcard():
    assert star_glob("m.room.*").matches("m.room.member")
    assert not star_glob("m.room.*").matches("M.ROOM.member")
    assert not star_glob("m.room?*").matches("m.room.member")
    assert star_glob("m.room?*").matches("m.room?member")


def test_a_literal_has_no_wildcards():
    assert words_literal("Al*ce?").matches("hello Al*ce? there")
    assert not words_literal("Al*ce?").matches("hello Alice there")


def test_many_stars_against_a_long_text_end_soon():
    text = "a" * 60_000
    assert not words_glob("a*" * 200 + "b").matches(text)
    assert not whole_value_glob("*a" * 200 + "*b").matches(text)


@given(pattern=st.text(alphabet="ab*?.", max_size=8), text=st.text(alphabet="abAB.", max_size=10))
def test_whole_value_globs_agree_with_a_backtracking_expression(pattern, text):
    expected = re.fullmatch(fnmatch.translate(pattern), text, re.IGNORECASE) is not None
    assert whole_value_glob(pattern).matches(text) is expected


@given(pattern=st.text(alphabet="ab*? ", max_size=6), text=st.text(alphabet="ab _-", max_size=10))
def test_words_globs_agree_with_a_backtracking_expression(pattern, text):
    boundary = r"(?:(?<![A-Za-z0-9_])|(?![A-Za-z0-9_]))"
    parts = {"*": ".*", "?": "."}
    expression = boundary + "".join(parts.get(character, re.escape(character)) for character in pattern) + boundary
    assert words_glob(pattern).matches(text) is (re.search(expression, text, re.DOTALL) is not None)
