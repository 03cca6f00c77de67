"""How each program of this folder is built and run, and what its lines say."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.compat.clients.python.checks import CODECS, THINGS

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
LIMIT_S = 240.0
BUILD_S = 240.0
EVERYTHING = [*(f"produce and consume: {codec}" for codec in CODECS), *THINGS]
FAILOVER = ["failover: once and in order"]
QUIX = "quixstreams==3.28.1"


class Outcome(NamedTuple):
    """passed: names; failed: lines; errors: what it wrote to stderr last."""

    passed: list[str]
    failed: list[str]
    errors: str


def run(command: Sequence[str], kill_leader: Callable[[str], None], log: Path) -> Outcome:
    """Run it to its end, in LIMIT_S at most; kill_leader gets the topic when the program asks for it."""
    passed, failed = [], []
    environment = os.environ | {"PYTHONPATH": str(ROOT), "KAFKAJS_NO_PARTITIONER_WARNING": "1"}
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            env=environment,
        ) as process,
    ):
        limit = threading.Timer(LIMIT_S, process.kill)
        limit.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            for line in process.stdout:
                said, _, rest = line.strip().partition(" ")
                if said == "PASS":
                    passed.append(rest)
                elif said == "KILL":
                    kill_leader(rest)
                    process.stdin.write("killed\n")
                    process.stdin.flush()
                else:
                    failed.append(line.strip())
            code = process.wait()
        finally:
            limit.cancel()
            process.kill()
    if code and not failed:
        failed.append(f"it ended with code {code}; it may run {LIMIT_S:g} s")
    return Outcome(passed, failed, log.read_text()[-3000:])


def python(module: str) -> list[str]:
    """A program in the environment that the tests have."""
    return [sys.executable, "-m", f"tests.compat.clients.python.{module}"]


def built(name: str, folder: Path) -> list[str]:
    """The command of a program that is not in this environment, made in a folder. Skips where that cannot be."""
    folder.mkdir(exist_ok=True)
    return BUILDERS[name](folder)


def _go(name: str) -> Callable[[Path], list[str]]:
    def build(folder: Path) -> list[str]:
        _fetch(["go", "mod", "download"], HERE / "go")
        target = folder / name
        subprocess.run(
            ["go", "build", "-o", target, f"./{name}"], cwd=HERE / "go", check=True, timeout=BUILD_S
        )
        return [str(target)]

    return build


def _node(name: str) -> Callable[[Path], list[str]]:
    def build(folder: Path) -> list[str]:
        node = _tool("node")
        for each in (HERE / "node").iterdir():
            if each.is_file():
                shutil.copy(each, folder)
        _fetch(["npm", "ci", "--no-audit", "--no-fund"], folder)
        return [node, str(folder / f"{name}.mjs")]

    return build


def _java(folder: Path) -> list[str]:
    java = _tool("java")
    pom = str(HERE / "java" / "pom.xml")
    copy = f"-DoutputDirectory={folder}"
    _fetch(["mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies", copy], folder)
    return [java, "-cp", f"{folder}/*", str(HERE / "java" / "Program.java")]


def _quix(folder: Path) -> list[str]:
    """It wants another librdkafka than we try."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=BUILD_S)
    interpreter = str(folder / "bin" / "python")
    _fetch([interpreter, "-m", "pip", "install", "--quiet", QUIX], folder)
    return [interpreter, "-W", "ignore", "-m", "tests.compat.clients.python.quix"]


BUILDERS: Mapping[str, Callable[[Path], list[str]]] = {
    "franz": _go("franz"),
    "sarama": _go("sarama"),
    "kafkajs": _node("kafkajs"),
    "java": _java,
    "quix": _quix,
}


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name}")
    return found


def _fetch(command: Sequence[str], folder: Path) -> None:
    """From a registry, which may be out of reach."""
    done = subprocess.run(
        [_tool(command[0]), *command[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"{' '.join(command)}: {(done.stderr or done.stdout)[-300:]}")
