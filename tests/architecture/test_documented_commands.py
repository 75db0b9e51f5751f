"""The command lines in the documents, the image and the compose file are ones that the command line takes."""

import json
import re
from pathlib import Path

import click
import pytest
import typer

from tests.architecture.dockerfile import read_dockerfile
from tests.architecture.sources import ROOT
from tim_server.cli.main import cli

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND_LINE = re.compile(r"tim-server ((?:[a-z][a-z-]*|--[a-z]\S*)(?: [^`|&>]*)?)")


def command_lines(document: Path) -> list[tuple[int, list[str]]]:
    """Line number and words of every command in code, inline or in a block."""
    found: list[tuple[int, list[str]]] = []
    in_block = False
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), start=1):
        if line.startswith("```"):
            in_block = not in_block
        for code in [line] if in_block else re.findall(r"`([^`]+)`", line):
            for words in COMMAND_LINE.findall(code.replace("exec tim-server ", "")):
                found.append((number, re.sub(r"[\[\]\\]", "", words).split()))
    return found


def complaint(words: list[str]) -> str:
    """What is wrong with a command's words: an unknown command or option; empty when nothing is."""
    command = typer.main.get_command(cli)
    rest = list(words)
    while isinstance(command, click.Group) or hasattr(command, "commands"):
        name = rest.pop(0) if rest else ""
        if name.startswith("-"):
            break
        known = command.commands
        if name not in known:
            return f"no such command: {' '.join(words)}"
        command = known[name]
    options = {option for parameter in command.params for option in parameter.opts}
    unknown = [word for word in rest if word.startswith("--") and word.partition("=")[0] not in options]
    return f"no such option of {command.name}: {unknown}" if unknown else ""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_documents_exist(document: Path) -> None:
    wrong = [
        f"{document.relative_to(ROOT).as_posix()}:{number}: {reason}"
        for number, words in command_lines(document)
        if (reason := complaint(words))
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_the_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = typer.main.get_command(cli).commands  # type: ignore[attr-defined]
    missing = [name for name in commands if f"`tim-server {name}" not in text]
    assert commands and not missing, f"README.md: the table of commands lacks {missing}"


def test_the_image_runs_a_command_that_exists() -> None:
    instructions = read_dockerfile((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    words = json.loads(next(entry.text for entry in instructions if entry.name == "CMD"))
    assert complaint(words) == ""


@pytest.mark.parametrize("words", [["serv"], ["user", "remove"], ["serve", "--configuration", "x"]])
def test_a_command_that_does_not_exist_is_found(words: list[str]) -> None:
    assert complaint(words)
