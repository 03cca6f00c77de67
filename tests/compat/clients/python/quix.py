"""Quix Streams on librdkafka at any cluster, in an environment of its own: `python -m ...python.quix BOOTSTRAP`."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient
from quixstreams import Application
from quixstreams.models import TopicConfig

from tests.compat.clients.python.checks import (
    LIMIT_S,
    PARTITIONS,
    ask_to_kill_the_leader,
    run,
    same,
    unique,
)

USERS = 10
COUNT = 500


class Program:
    """One thing a method. Exactly-once is left out: it needs transactions."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.run = unique("quix")

    def things(self) -> dict[str, Callable[[], None]]:
        return {
            "a pipeline from topic to topic": self.pipeline,
            "state: kept in a changelog, and recovered from it": self.state,
        }

    def application(self, group: str, folder: str) -> Application:
        return Application(
            self.bootstrap,
            consumer_group=f"{self.run}-{group}",
            auto_offset_reset="earliest",
            state_dir=folder,
            loglevel="ERROR",
            commit_interval=0.5,
        )

    def topic(self, app: Application, name: str) -> Any:
        return app.topic(
            f"{self.run}-{name}",
            config=TopicConfig(num_partitions=PARTITIONS, replication_factor=3),
        )

    def fill(self, app: Application, topic: Any, numbers: range) -> None:
        with app.get_producer() as producer:
            for number in numbers:
                message = topic.serialize(key=f"user-{number % USERS}", value={"number": number})
                producer.produce(topic.name, message.value, message.key)

    def pipeline(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            app = self.application("pipeline", folder)
            source, sink = self.topic(app, "in"), self.topic(app, "out")
            self.fill(app, source, range(COUNT))
            doubled = app.dataframe(source).apply(lambda value: {"number": 2 * value["number"]})
            doubled.to_topic(sink)
            app.run(count=COUNT, timeout=LIMIT_S)
            again = self.application("reader", folder)
            again.dataframe(self.topic(again, "out"))
            found = again.run(count=COUNT, timeout=LIMIT_S)
        same(sorted(each["number"] for each in found), [2 * number for number in range(COUNT)])

    def state(self) -> None:
        def counted(name: str, numbers: range) -> list[int]:
            """A folder that knows nothing: counts come from the changelog topic."""
            with tempfile.TemporaryDirectory() as folder:
                app = self.application("state", str(Path(folder)))
                source = self.topic(app, name)
                self.fill(app, source, numbers)
                app.dataframe(source).apply(count, stateful=True)
                found = app.run(count=len(numbers), timeout=LIMIT_S)
                return sorted(each["count"] for each in found)

        def count(_value: Any, state: Any) -> dict[str, int]:
            seen = state.get("count", 0) + 1
            state.set("count", seen)
            return {"count": seen}

        each = COUNT // USERS
        same(counted("counts", range(COUNT)), sorted([*range(1, each + 1)] * USERS))
        expected = sorted([*range(each + 1, 2 * each + 1)] * USERS)
        same(counted("counts", range(COUNT, 2 * COUNT)), expected, "after the state was lost")
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        changelog = f"changelog__{self.run}-state--{self.run}-counts--default"
        same(changelog in admin.list_topics(timeout=LIMIT_S).topics, True, changelog)

    def failover(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            app = self.application("failover", folder)
            topic = app.topic(
                f"{self.run}-failover", config=TopicConfig(num_partitions=1, replication_factor=3)
            )
            with app.get_producer() as producer:
                for number in range(3000):
                    producer.produce(topic.name, f'{{"number": {number}}}'.encode(), b"key")
                    producer.poll(0.001)
                    if number == 1000:
                        ask_to_kill_the_leader(topic.name)
            app.dataframe(topic)
            found = app.run(count=3000, timeout=LIMIT_S)
        same([each["number"] for each in found], [*range(3000)])


if __name__ == "__main__":
    run(Program)
