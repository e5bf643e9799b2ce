"""Does every `expunge ...` command in the README and the documents exist, with the options that it is given?"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from cli.main import app

CLONE = Path(__file__).resolve().parents[2]
DOCUMENTS = [CLONE / "README.md", *sorted((CLONE / "docs").glob("*.md"))]


def commands(path: Path) -> list[str]:
    """Commands in code: spans of one line, and the lines of fenced blocks."""
    found, fenced = [], False
    for line in path.read_text().splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced:
            found += [part for piece in line.split("&&") for part in [_command(piece.partition(" #")[0])] if part]
        else:
            found += [part for span in re.findall(r"`([^`]+)`", line) if (part := _command(span, whole=True))]
    return found


def _command(text: str, whole: bool = False) -> str:
    match = (re.match if whole else re.search)(r"\s*(?:\S*/)?\bexpunge ([a-z-].*)", text)
    return match.group(1).strip() if match else ""


def unknown(words: list[str]) -> str:
    """What of a command does not exist; empty when all of it does."""
    command: Any = typer.main.get_command(app)
    path: list[str] = []
    options = _options(command)
    for word in words:
        if word.startswith("-"):
            name = word.split("=")[0]
            if name not in options and name not in ("--help",):
                return " ".join([*path, name])
        elif hasattr(command, "commands"):
            alternatives = word.split("/")
            if any(one not in command.commands for one in alternatives):
                return " ".join([*path, word])
            command = command.commands[alternatives[0]]
            path.append(alternatives[0])
            options |= _options(command)
    return ""


def _options(command: Any) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


def words_of(command: str) -> list[str]:
    """The words of a command line, as far as they are one: `...` stands for more, `|` and `;` end it."""
    words = shlex.split(re.split(r"\s[|;>]|\.\.\.|…", command)[0])
    if "--project" in words:  # it takes a value, and stands before the verb
        at = words.index("--project")
        del words[at : at + 2]
    return words


@pytest.mark.parametrize("path", DOCUMENTS, ids=[path.name for path in DOCUMENTS])
def test_every_command_of_a_document_exists(path: Path) -> None:
    wrong = {}
    for command in commands(path):
        if lacking := unknown(words_of(command)):
            wrong[command] = lacking
    assert wrong == {}


def test_the_check_sees_what_does_not_exist() -> None:
    assert unknown(words_of("verify --all --anchor FILE")) == ""
    assert unknown(words_of("verfy x")) == "verfy"
    assert unknown(words_of("audit planet x")) == "audit planet"
    assert unknown(words_of("verify --al")) == "verify --al"
    assert len(commands(CLONE / "README.md")) > 8 and len(commands(CLONE / "docs" / "runbook.md")) > 40


def test_the_files_and_sections_that_documents_point_to_exist() -> None:
    for path in DOCUMENTS:
        text = path.read_text()
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name}: {target}"
        titles = {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in re.findall(r"^#+ (.+)$", text, re.M)}
        for section in re.findall(r"\]\(#([^)]+)\)", text):
            assert section in titles, f"{path.name}: #{section}"


def test_the_tests_that_the_threat_model_points_to_exist() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", (CLONE / "docs" / "threat-model.md").read_text()))
    assert len(named) > 10 and all((CLONE / name).is_file() for name in named), named
