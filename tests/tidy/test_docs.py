"""What the documents say is there: links, commands with their options, configuration keys."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from docs.generate import KAFKA, TARGET, document, kafka_page
from ottla.cli.main import app
from tests.compat.clients.programs import QUIX

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
BLOCK = re.compile(r"```.*?\n(.*?)```", re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
COMMAND = re.compile(r"(?:^|[\s$|;(])ottla ((?:[a-z]|--?[a-z]).*)")


def test_the_generated_pages_are_up_to_date() -> None:
    assert TARGET.read_text(encoding="utf-8") == document(), "run `make docs`"
    assert KAFKA.read_text(encoding="utf-8") == kafka_page(), "run `make docs`"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    local = [each for each in LINK.findall(text) if "://" not in each]
    broken = []
    for link in local:
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_and_their_options_exist(path: Path) -> None:
    wrong = [line for line in _commands(path.read_text(encoding="utf-8")) if not _exists(line)]
    assert wrong == []


def test_the_table_of_clients_has_the_versions_that_are_pinned() -> None:
    clients = ROOT / "tests" / "compat" / "clients"
    go = (clients / "go" / "go.mod").read_text(encoding="utf-8")
    node = json.loads((clients / "node" / "package.json").read_text(encoding="utf-8"))
    java = (clients / "java" / "pom.xml").read_text(encoding="utf-8")
    pinned = {
        "Java": re.search(r"kafka-clients</artifactId>\s+<version>([^<]+)", java)[1],  # type: ignore[index]
        "Quix Streams": QUIX.partition("==")[2],
        "franz-go": re.search(r"twmb/franz-go v(\S+)", go)[1],  # type: ignore[index]
        "sarama": re.search(r"IBM/sarama v(\S+)", go)[1],  # type: ignore[index]
        "kafkajs": node["dependencies"]["kafkajs"],
    }
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", KAFKA.read_text(), re.MULTILINE))
    assert {name: rows.get(name) for name in pinned} == pinned


def test_the_check_of_commands_finds_what_is_wrong() -> None:
    assert _exists("topics create orders --partitions 3 | cat")
    assert _exists("local")
    assert not _exists("topics creat orders")
    assert not _exists("topics create orders --partition 3")


def _anchors(path: Path) -> set[str]:
    """The ids that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def _commands(text: str) -> Iterator[str]:
    """What follows on `ottla` in code, blocks and spans."""
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if found := COMMAND.search(line):
                yield found[1]
    for span in CODE.findall(BLOCK.sub("", text)):
        if span.startswith("ottla ") and (found := COMMAND.search(span)):
            yield found[1]


def _exists(line: str) -> bool:
    command: Any = typer.main.get_command(app)
    words = re.split(r"\s*[|<>&;]+\s|\s#", line)[0].split()
    while words and not words[0].startswith("-") and hasattr(command, "commands"):
        command = command.commands.get(words.pop(0))
    if command is None:
        return False
    known = {option for parameter in command.params for option in parameter.opts}
    options = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    return options <= known | {"--help"}
