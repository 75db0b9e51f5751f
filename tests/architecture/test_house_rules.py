"""The house rules hold in every module, and each of them can fail."""

from collections.abc import Iterator

import pytest

from tests.architecture.exceptions import ceiling, listed_exceptions, unexcused
from tests.architecture.house_rules import RULES, SIZE_RULES, Rule
from tests.architecture.sources import Violation, modules_of_tests, package_modules, parse_module, report


def all_violations() -> Iterator[Violation]:
    for module in package_modules():
        for rule in RULES:
            yield from rule(module)
    for module in modules_of_tests():
        for rule in SIZE_RULES:
            yield from rule(module)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_holds_in_the_package(rule: Rule) -> None:
    broken = unexcused(violation for module in package_modules() for violation in rule(module))
    assert not broken, report(broken)


@pytest.mark.parametrize("rule", SIZE_RULES, ids=lambda rule: rule.__name__)
def test_rule_holds_in_the_tests(rule: Rule) -> None:
    broken = unexcused(violation for module in modules_of_tests() for violation in rule(module))
    assert not broken, report(broken)


def test_each_exception_is_still_needed() -> None:
    needed = {(violation.rule, violation.path, violation.name) for violation in all_violations()}
    idle = [entry for entry in listed_exceptions() if (entry.rule, entry.path, entry.name) not in needed]
    assert not idle, f"tests/architecture/exceptions.toml: take these out and lower the ceiling: {idle}"


def test_the_list_of_exceptions_only_shrinks() -> None:
    count = len(listed_exceptions())
    assert count <= ceiling(), "tests/architecture/exceptions.toml: one exception too many: mend the code instead"
    assert count == ceiling(), f"tests/architecture/exceptions.toml: lower the ceiling to {count}"


def test_each_exception_has_a_reason() -> None:
    assert all(len(entry.reason) > 20 for entry in listed_exceptions()), "exceptions.toml: say why, in a sentence"


SAMPLES = {
    "file-length": '"""A module."""\n' + "x = 1\n" * 400,
    "function-length": '"""A module."""\n\n\ndef _long() -> None:\n' + "    print()\n" * 60,
    "parameter-count": '"""A module."""\n\n\ndef _wide(a, b, c, *, d, e, f, g) -> None: ...\n',
    "silenced-size": '"""A module."""\n\n\ndef _wide() -> None:  # no' + "qa: PLR0913\n    ...\n",
    "bare-silence": '"""A module."""\nx = 1  # no' + "qa\n",
    "base-classes": '"""A module."""\n\n\nclass _Both(dict, list): ...\n',
    "docstring": '"""A module."""\n\n\nasync def open_room() -> None: ...\n',
    "forbidden-name": '"""A module."""\n\n\nclass _RoomManager: ...\n',
    "open-end": '"""A module."""\n# TO' + "DO later\n",
    "clock-call": '"""A module."""\nx = datetime.now(UTC)\n',
}


@pytest.mark.parametrize("expected", SAMPLES)
def test_a_module_that_breaks_the_rule_is_found(expected: str) -> None:
    module = parse_module("tim_server/matrix/sample.py", SAMPLES[expected])
    found = [violation.rule for rule in RULES for violation in rule(module)]
    assert found == [expected]


def test_methods_nested_in_public_classes_need_docstrings() -> None:
    module = parse_module(
        "tim_server/sample.py", '"""A module."""\n\n\nclass Room:\n    """A room."""\n\n    def join(self): ...\n'
    )
    found = [violation.name for rule in RULES for violation in rule(module)]
    assert found == ["Room.join"]


def test_a_module_without_a_docstring_is_found() -> None:
    module = parse_module("tim_server/room_utils.py", "x = 1\n")
    found = [violation.rule for rule in RULES for violation in rule(module)]
    assert found == ["docstring", "forbidden-name"]


def test_self_and_generic_bases_do_not_count() -> None:
    text = '"""A module."""\n\n\nclass _Store(dict, Generic[T]):\n    def put(self, a, b, c, d, e, f): ...\n'
    module = parse_module("tim_server/sample.py", text)
    assert [violation for rule in RULES for violation in rule(module)] == []
