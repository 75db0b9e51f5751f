"""Reading a Dockerfile far enough to check it without an engine."""

import re
from dataclasses import dataclass

INSTRUCTIONS = frozenset(
    {
        *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL"),
        *("ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction with its continuation lines joined; `stage` counts the FROM instructions before and at it."""

    line: int
    stage: int
    name: str
    text: str


def read_dockerfile(text: str) -> list[Instruction]:
    """The instructions in order; raises ValueError at what is not an instruction or comes before the first FROM."""
    instructions: list[Instruction] = []
    parts: list[str] = []
    begun = stage = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        begun = begun if parts else number
        parts.append(line.strip().removesuffix("\\").strip())
        if line.rstrip().endswith("\\"):
            continue
        name, _, rest = " ".join(parts).partition(" ")
        parts = []
        stage += name == "FROM"
        if name not in INSTRUCTIONS or not rest or stage == 0:
            raise ValueError(f"Dockerfile:{begun}: not an instruction here: {name}")
        instructions.append(Instruction(line=begun, stage=stage, name=name, text=rest))
    if parts:
        raise ValueError(f"Dockerfile:{begun}: ends with a continuation")
    return instructions


def copied_from_context(instruction: Instruction) -> list[str]:
    """The sources of a COPY that come from the build context."""
    words = instruction.text.split()
    if any(word.startswith("--from=") for word in words):
        return []
    return [word for word in words if not word.startswith("--")][:-1]


def is_shown_to_the_build(path: str, dockerignore: str) -> bool:
    """Whether .dockerignore lets `path`, a name at the top level, through: the last line that matches decides."""
    shown = True
    for raw in dockerignore.splitlines():
        pattern = raw.strip().removeprefix("!").rstrip("/")
        if pattern and not pattern.startswith("#") and re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), path):
            shown = raw.strip().startswith("!")
    return shown
