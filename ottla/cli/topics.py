"""`ottla topics`: make, look at, change and delete topics."""

from typing import Annotated, Any

import typer

from ottla.cli import common
from ottla.cli.broker_configs import print_configs

app = typer.Typer(no_args_is_help=True, help="Make, look at, change and delete topics.")

Name = Annotated[str, typer.Argument(metavar="TOPIC")]
Config = Annotated[
    list[str] | None,
    typer.Option("--config", metavar="KEY=VALUE", help="A setting of the topic; may be repeated."),
]


@app.command()
def create(
    topic: Name,
    partitions: Annotated[
        int, typer.Option(help="How many partitions; -1: num.partitions of the cluster.")
    ] = -1,
    replication_factor: Annotated[
        int,
        typer.Option(
            help="Replicas of each partition; -1: default.replication.factor of the cluster."
        ),
    ] = -1,
    config: Config = None,
    replica_assignment: Annotated[
        str,
        typer.Option(
            metavar="1:2:3,2:3:1", help="Brokers of partition 0, 1, ... instead of the two numbers."
        ),
    ] = "",
    if_not_exists: Annotated[
        bool, typer.Option(help="It is fine if the topic is there already.")
    ] = False,
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Make a topic.

    Example: ottla topics create orders --partitions 6 --replication-factor 3 --config min.insync.replicas=2
    """
    from ottla.client.admin import Admin
    from ottla.client.errors import BrokerError
    from storage.errors import ErrorCode

    configs = common.parse_assignments("--config", config or [])
    assignments = _assignments(replica_assignment)
    for hint, number in (
        ("--partitions", partitions),
        ("--replication-factor", replication_factor),
    ):
        if number < 1 and number != -1:
            raise typer.BadParameter(
                f"{number}: at least 1, or -1 for the cluster's default", param_hint=hint
            )

    async def work() -> Any:
        async with Admin(bootstrap) as admin:
            try:
                return await admin.create_topic(
                    topic,
                    partitions=partitions,
                    replication_factor=replication_factor,
                    configs=configs,
                    assignments=assignments,
                )
            except BrokerError as error:
                if if_not_exists and error.code == ErrorCode.TOPIC_ALREADY_EXISTS:
                    return None
                raise

    created = common.ask(work())
    if json:
        common.print_json(
            {"topic": topic, "created": created is not None}
            | (_created(created) if created else {})
        )
    elif created is None:
        typer.echo(f"{topic} is there already")
    else:
        typer.echo(
            f"created {topic}: {created.partitions} partitions, {created.replication_factor} replicas each"
        )


def _created(created: Any) -> dict[str, Any]:
    return {
        "topic_id": created.topic_id,
        "partitions": created.partitions,
        "replication_factor": created.replication_factor,
    }


def _assignments(text: str) -> list[list[int]]:
    try:
        return [[int(node) for node in part.split(":")] for part in text.split(",") if part]
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not like 1:2:3,2:3:1", param_hint="--replica-assignment"
        ) from None


@app.command(name="list")
def list_(
    exclude_internal: Annotated[bool, typer.Option(help="Leave out topics of the system.")] = False,
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Names of all topics."""
    names = [
        each.name for each in _topics(bootstrap, []) if not (exclude_internal and each.internal)
    ]
    if json:
        common.print_json(names)
    else:
        for name in names:
            typer.echo(name)


@app.command()
def describe(
    topic: Annotated[
        list[str] | None, typer.Argument(metavar="[TOPIC]...", help="None: all.")
    ] = None,
    under_replicated: Annotated[
        bool, typer.Option(help="Only partitions with replicas out of sync.")
    ] = False,
    unavailable: Annotated[bool, typer.Option(help="Only partitions without a leader.")] = False,
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Leader, replicas, in-sync replicas (ISR), eligible leader replicas (ELR) and settings."""
    found = _topics(bootstrap, topic or [])
    shown = [
        (each, [one for one in each.partitions if _wanted(one, under_replicated, unavailable)])
        for each in found
    ]
    if json:
        common.print_json([_as_json(each, partitions) for each, partitions in shown])
        return
    filtered = under_replicated or unavailable
    for each, partitions in shown:
        if filtered and not partitions:
            continue
        configs = ",".join(f"{key}={value}" for key, value in sorted(each.configs.items()))
        replicas = len(each.partitions[0].replicas) if each.partitions else 0
        typer.echo(
            f"{each.name}  id {each.topic_id}  partitions {len(each.partitions)}  replicas {replicas}"
            + (f"  {configs}" if configs else "")
        )
        common.print_table(
            ["PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "ELR"],
            [
                (
                    one.partition,
                    one.leader_id if one.leader_id >= 0 else "none",
                    one.leader_epoch,
                    _ids(one.replicas),
                    _ids(one.isr),
                    _ids(one.elr) or "-",
                )
                for one in partitions
            ],
        )


@app.command()
def alter(
    topic: Name,
    partitions: Annotated[
        int | None, typer.Option(help="The number of partitions afterwards.")
    ] = None,
    config: Config = None,
    delete_config: Annotated[
        list[str] | None,
        typer.Option(
            "--delete-config",
            metavar="KEY",
            help="Set a setting back to the cluster's; may be repeated.",
        ),
    ] = None,
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Give a topic more partitions, set and unset its settings.

    Example: ottla topics alter orders --partitions 12 --config retention.ms=3600000 --delete-config segment.bytes
    """
    from ottla.client.admin import Admin

    configs = common.parse_assignments("--config", config or [])
    if partitions is None and not configs and not delete_config:
        raise typer.BadParameter("nothing to do: give --partitions, --config or --delete-config")

    async def work() -> None:
        async with Admin(bootstrap) as admin:
            if configs or delete_config:
                await admin.alter_topic_configs(topic, set_=configs, unset=delete_config or [])
            if partitions is not None:
                await admin.create_partitions(topic, partitions)

    common.ask(work())
    common.report(
        json,
        {"topic": topic, "partitions": partitions, "set": configs, "unset": delete_config or []},
        f"altered {topic}",
    )


@app.command()
def configs(
    topic: Name,
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Every setting of a topic, its value, and where that comes from."""
    from ottla.client.admin import Admin

    async def work() -> Any:
        async with Admin(bootstrap) as admin:
            return await admin.topic_configs(topic)

    print_configs(common.ask(work()), json=json)


@app.command()
def delete(
    topic: Name,
    if_exists: Annotated[bool, typer.Option(help="It is fine if there is no such topic.")] = False,
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Delete a topic and all its records, for ever."""
    from ottla.client.admin import Admin
    from ottla.client.errors import BrokerError
    from storage.errors import ErrorCode

    async def work() -> bool:
        async with Admin(bootstrap) as admin:
            try:
                await admin.delete_topic(topic)
            except BrokerError as error:
                if if_exists and error.code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                    return False
                raise
            return True

    deleted = common.ask(work())
    common.report(
        json,
        {"topic": topic, "deleted": deleted},
        f"deleted {topic}" if deleted else f"there is no topic {topic}",
    )


def _topics(bootstrap: str, names: list[str]) -> list[Any]:
    from ottla.client.admin import Admin

    async def work() -> list[Any]:
        async with Admin(bootstrap) as admin:
            return await admin.topics(names)

    return common.ask(work())


def _wanted(partition: Any, under_replicated: bool, unavailable: bool) -> bool:
    if under_replicated and len(partition.isr) >= len(partition.replicas):
        return False
    return not (unavailable and partition.leader_id >= 0)


def _ids(ids: Any) -> str:
    return ",".join(str(each) for each in ids)


def _as_json(topic: Any, partitions: list[Any]) -> dict[str, Any]:
    return {
        "name": topic.name,
        "topic_id": topic.topic_id,
        "internal": topic.internal,
        "configs": dict(topic.configs),
        "partitions": [
            {
                "partition": each.partition,
                "leader": each.leader_id,
                "leader_epoch": each.leader_epoch,
                "replicas": list(each.replicas),
                "isr": list(each.isr),
                "elr": list(each.elr),
                "adding_replicas": list(each.adding_replicas),
                "removing_replicas": list(each.removing_replicas),
            }
            for each in partitions
        ],
    }
