"""The same questions to Ottla and to Apache Kafka. Kafka's answers are kept in oracle.json.

    python -m tests.compat.oracle record 127.0.0.1:29091    ask Apache Kafka and keep what it answers
    python -m tests.compat.oracle compare 127.0.0.1:9092    ask whatever is there and print what is different

A scenario is a function that asks a `Target` and returns what can be compared, as JSON has it.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.compat import (
    admin_scenarios,
    bridge_scenarios,
    group_scenarios,
    operator_scenarios,
    produce_scenarios,
    read_scenarios,
)
from tests.compat.target import Target

ANSWERS = Path(__file__).with_name("oracle.json")
SCENARIOS: Mapping[str, Callable[[Target], Any]] = {
    **produce_scenarios.SCENARIOS,
    **read_scenarios.SCENARIOS,
    **group_scenarios.SCENARIOS,
    **bridge_scenarios.SCENARIOS,
    **admin_scenarios.SCENARIOS,
    **operator_scenarios.SCENARIOS,
}


def ask(bootstrap: str, names: Iterable[str] = SCENARIOS) -> dict[str, Any]:
    """Scenario -> what it answers. One that ends with an error says so."""
    answers: dict[str, Any] = {}
    target = Target(bootstrap, format(time.time_ns(), "x"))
    try:
        for name in names:
            try:
                answers[name] = json.loads(json.dumps(SCENARIOS[name](target)))
            except Exception as error:  # noqa: BLE001 - what differs is told, whatever it is
                answers[name] = f"{type(error).__name__}: {error}"
                target.close()
    finally:
        target.close()
    return answers


def recorded() -> dict[str, Any]:
    """What Apache Kafka answered."""
    found = json.loads(ANSWERS.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def main() -> int:
    """Returns 1 when something is different."""
    verb, bootstrap, *only = sys.argv[1:]
    wanted = [each for each in SCENARIOS if not only or any(part in each for part in only)]
    answers = ask(bootstrap, wanted)
    if verb == "record":
        known = recorded() if ANSWERS.exists() and only else {}
        lines = [
            f"{json.dumps(name)}: {json.dumps(answer)}"
            for name, answer in sorted({**known, **answers}.items())
        ]
        ANSWERS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        return 0
    known = recorded()
    different = [name for name in wanted if answers[name] != known.get(name)]
    for name in different:
        print(
            f"{name}\n  Kafka: {json.dumps(known.get(name))}\n  here:  {json.dumps(answers[name])}"
        )
    print(f"{len(wanted) - len(different)} of {len(wanted)} are the same")
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())
