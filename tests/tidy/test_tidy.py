"""The house rules that a machine can hold: sizes, leftovers, names."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
FOLDER_FILES_MAX = 32
FORBIDDEN_NAMES = {"utils", "util", "helpers", "misc", "common_utils"}
GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$|^wire/messages/")


def _tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def _python() -> list[Path]:
    return [
        path
        for path in _tracked()
        if path.suffix == ".py" and not GENERATED.search(path.relative_to(ROOT).as_posix())
    ]


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_file_is_too_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in _python()}
    assert {path: size for path, size in lengths.items() if size > FILE_LINES_MAX} == {}


def test_no_function_is_too_long() -> None:
    too_long = {
        f"{path.relative_to(ROOT)}:{each.lineno} {each.name}": each.end_lineno - each.lineno + 1
        for path in _python()
        for each in _functions(path)
        if each.end_lineno is not None and each.end_lineno - each.lineno + 1 > FUNCTION_LINES_MAX
    }
    assert too_long == {}


def test_no_folder_is_a_heap() -> None:
    counts: dict[Path, int] = {}
    for path in _python():
        counts[path.parent] = counts.get(path.parent, 0) + 1
    assert {folder: count for folder, count in counts.items() if count > FOLDER_FILES_MAX} == {}


def test_nothing_is_called_utils() -> None:
    assert [path for path in _python() if FORBIDDEN_NAMES & {path.stem, *path.parent.parts}] == []


def test_nothing_unfinished_is_left() -> None:
    left = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in _tracked()
        if path.suffix in {".py", ".proto", ".md", ".toml", ".yml"}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if left.search(line)
    ]
    assert found == []


def test_every_public_module_says_what_it_is() -> None:
    silent = [
        path.relative_to(ROOT)
        for path in _python()
        if path.name != "__init__.py"
        and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


@pytest.mark.parametrize("forbidden", ["/work/", "/root/"])
def test_no_path_of_a_machine_is_committed(forbidden: str) -> None:
    found = [
        path.relative_to(ROOT)
        for path in _tracked()
        if path != Path(__file__) and forbidden.encode() in path.read_bytes()
    ]
    assert found == []


def test_the_image_has_every_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = settings["tool"]["setuptools"]["packages"]["find"]["include"]
    copied = re.findall(r"^COPY (\w+) \1$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    wanted = {each.rstrip("*") for each in packages}
    assert set(copied) == wanted
    let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {each.strip("!/") for each in let_in if each.startswith("!")} >= wanted
