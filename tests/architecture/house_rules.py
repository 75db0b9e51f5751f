"""The house rules that no ready-made tool checks: each is a function from a module to the places that break it."""

import ast
import re
from collections.abc import Callable, Iterator

from tests.architecture.sources import Module, Violation

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
PARAMETERS_MAX = 6
FORBIDDEN_WORDS = frozenset({"handler", "manager", "helper", "util"})

Function = ast.FunctionDef | ast.AsyncFunctionDef
Rule = Callable[[Module], Iterator[Violation]]


def file_length(module: Module) -> Iterator[Violation]:
    """A file has at most 400 lines."""
    lines = module.text.count("\n")
    if lines > FILE_LINES_MAX:
        advice = f"{lines} lines, at most {FILE_LINES_MAX}: split the module by what it talks about"
        yield Violation(rule="file-length", path=module.path, line=1, name="", advice=advice)


def function_length(module: Module) -> Iterator[Violation]:
    """A function has at most 60 lines, its decorators and docstring excluded."""
    for function, name in functions(module):
        body = (
            function.body[1:] if ast.get_docstring(function) is not None and len(function.body) > 1 else function.body
        )
        docstring_lines = body[0].lineno - function.body[0].lineno
        lines = (function.end_lineno or function.lineno) - function.lineno + 1 - docstring_lines
        if lines > FUNCTION_LINES_MAX:
            advice = f"{name} has {lines} lines, at most {FUNCTION_LINES_MAX}: take a step of it into a function"
            yield _at(module, function, "function-length", name, advice)


def parameter_count(module: Module) -> Iterator[Violation]:
    """A function takes at most 6 parameters, `self` and `cls` excluded."""
    for function, name in functions(module):
        arguments = function.args
        names = [argument.arg for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]]
        count = len(names) - (1 if names and names[0] in {"self", "cls"} else 0)
        if count > PARAMETERS_MAX:
            advice = f"{name} takes {count} parameters, at most {PARAMETERS_MAX}: pass a record"
            yield _at(module, function, "parameter-count", name, advice)


def silenced_size(module: Module) -> Iterator[Violation]:
    """The linter's rules on size and complexity are silenced only for what the list of exceptions names."""
    for number, line in enumerate(module.text.splitlines(), start=1):
        if found := re.search(r"#\s*noqa:.*\b(C901|PLR09\d\d)\b", line):
            name = f"{found[1]} {_enclosing_name(module, number)}".strip()
            advice = f"{found[1]} is silenced: make it smaller (rule silenced-size, name {name!r})"
            yield Violation(rule="silenced-size", path=module.path, line=number, name=name, advice=advice)


def bare_silence(module: Module) -> Iterator[Violation]:
    """Whoever silences the linter or the type checker says which rule."""
    for number, line in enumerate(module.text.splitlines(), start=1):
        if re.search(r"#\s*noqa(?!:\s*[A-Z])", line) or re.search(r"#\s*type:\s*ignore(?!\[)", line):
            advice = "name the rule that is silenced: `noqa` or `type: ignore` with its code"
            yield Violation(rule="bare-silence", path=module.path, line=number, name="", advice=advice)


def base_classes(module: Module) -> Iterator[Violation]:
    """A class has one base at most; `Generic[...]` beside it does not count."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef):
            bases = [base for base in node.bases if not _is_generic(base)]
            if len(bases) > 1:
                advice = f"{node.name} has {len(bases)} base classes: compose instead of mixing in"
                yield _at(module, node, "base-classes", node.name, advice)


def docstrings(module: Module) -> Iterator[Violation]:
    """Modules, public classes, and public functions and methods have docstrings."""
    if module.tree.body and ast.get_docstring(module.tree) is None:
        advice = "begin the module with its purpose and, where there is one, the link into the specification"
        yield Violation(rule="docstring", path=module.path, line=1, name="", advice=advice)
    for node, name in _public_definitions(module.tree.body, prefix=""):
        if ast.get_docstring(node) is None:
            advice = f"say in a docstring what {name} does, returns and raises"
            yield _at(module, node, "docstring", name, advice)


def forbidden_names(module: Module) -> Iterator[Violation]:
    """Nothing is called handler, manager, helper or utils."""
    words = FORBIDDEN_WORDS & _words(module.path.removesuffix(".py"))
    if words:
        advice = f"{sorted(words)[0]!r} says nothing: name the file for what is in it"
        yield Violation(rule="forbidden-name", path=module.path, line=1, name=module.path, advice=advice)
    for node in ast.walk(module.tree):
        if isinstance(node, Function | ast.ClassDef) and (words := FORBIDDEN_WORDS & _words(node.name)):
            advice = f"{node.name}: {sorted(words)[0]!r} says nothing: take the specification's name, or a verb"
            yield _at(module, node, "forbidden-name", node.name, advice)


def open_ends(module: Module) -> Iterator[Violation]:
    """No note of what is still to be done: an issue holds that, and the code does not."""
    for number, line in enumerate(module.text.splitlines(), start=1):
        if re.search(r"#.*\b(TO" r"DO|FIX" r"ME|XX" r"X)\b", line):
            advice = "do it now, or file an issue and take the note out"
            yield Violation(rule="open-end", path=module.path, line=number, name="", advice=advice)


def clock_calls(module: Module) -> Iterator[Violation]:
    """In matrix and trust the time is an argument: nothing asks a clock."""
    if not module.path.startswith(("tim_server/matrix/", "tim_server/trust/")):
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}:
            advice = f"pass the time as an argument instead of calling {node.attr}()"
            yield _at(module, node, "clock-call", node.attr, advice)


SIZE_RULES: tuple[Rule, ...] = (file_length, function_length, silenced_size, bare_silence)
RULES: tuple[Rule, ...] = (
    *SIZE_RULES,
    parameter_count,
    base_classes,
    docstrings,
    forbidden_names,
    open_ends,
    clock_calls,
)


def functions(module: Module) -> Iterator[tuple[Function, str]]:
    """Every function of a module, nested ones included, with its qualified name."""
    yield from _functions(module.tree, prefix="")


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[Function, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield child, prefix + child.name
        inner = f"{prefix}{child.name}." if isinstance(child, Function | ast.ClassDef) else prefix
        yield from _functions(child, inner)


def _public_definitions(body: list[ast.stmt], prefix: str) -> Iterator[tuple[Function | ast.ClassDef, str]]:
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_") and not _is_overload(node):
            yield node, prefix + node.name
            if isinstance(node, ast.ClassDef):
                yield from _public_definitions(node.body, f"{prefix}{node.name}.")


def _is_overload(node: Function | ast.ClassDef) -> bool:
    return any(ast.unparse(decorator).endswith(("overload", ".setter")) for decorator in node.decorator_list)


def _is_generic(base: ast.expr) -> bool:
    return isinstance(base, ast.Subscript) and isinstance(base.value, ast.Name) and base.value.id == "Generic"


def _words(name: str) -> set[str]:
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    return {part.lower().removesuffix("s") for part in parts}


def _enclosing_name(module: Module, line: int) -> str:
    names = [name for function, name in functions(module) if function.lineno <= line <= (function.end_lineno or line)]
    return names[-1] if names else ""


def _at(module: Module, node: ast.expr | ast.stmt, rule: str, name: str, advice: str) -> Violation:
    return Violation(rule=rule, path=module.path, line=node.lineno, name=name, advice=advice)
