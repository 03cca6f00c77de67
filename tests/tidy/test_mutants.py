"""The table of mutants fits to the source: each old text is there once, each named test exists (`make mutants`)."""

import re

import pytest

from tests.mutants.table import ROOT, Mutant, load

MUTANTS = load()


def test_names_are_given_once() -> None:
    names = [each.name for each in MUTANTS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda each: each.name)
def test_a_mutant_changes_what_is_there(mutant: Mutant) -> None:
    source = (ROOT / mutant.file).read_text(encoding="utf-8")
    changed = mutant.applied_to(source)
    assert changed != source
    compile(changed, mutant.file, "exec")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda each: each.name)
def test_the_tests_that_must_notice_a_mutant_exist(mutant: Mutant) -> None:
    assert mutant.tests
    for test in mutant.tests:
        path, _, name = test.partition("::")
        function = re.escape(name.partition("[")[0])
        assert re.search(
            rf"^def {function}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE
        ), test
