"""`ottla cluster` and `ottla quorum`: who is there, who leads, who votes."""

from typing import Annotated, Any

import typer

from ottla.cli import common

cluster_app = typer.Typer(no_args_is_help=True, help="The cluster: its brokers and its controller.")
quorum_app = typer.Typer(
    no_args_is_help=True,
    help="The metadata quorum: the nodes that elect leaders for everything else.",
)

Node = Annotated[int, typer.Argument(metavar="NODE")]


@cluster_app.command(name="describe")
def describe_cluster(
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP, json: common.Json = False
) -> None:
    """Cluster id, controller and brokers."""

    async def work() -> Any:
        from ottla.client.admin import Admin

        async with Admin(bootstrap) as admin:
            return await admin.describe_cluster()

    found = common.ask(work())
    brokers = [
        {
            "node_id": each.node_id,
            "address": f"{each.host}:{each.port}",
            "rack": each.rack,
            "state": _state(each),
            "broker_epoch": each.broker_epoch,
        }
        for each in found.brokers
    ]
    if json:
        common.print_json(
            {
                "cluster_id": found.cluster_id,
                "controller_id": found.controller_id,
                "metadata_level": found.metadata_level,
                "unclean_leader_elections": found.unclean_leader_elections,
                "brokers": brokers,
            }
        )
        return
    controller = found.controller_id if found.controller_id >= 0 else "none"
    typer.echo(
        f"cluster {found.cluster_id}  controller {controller}  metadata level {found.metadata_level}  "
        f"unclean elections {found.unclean_leader_elections}"
    )
    common.print_table(
        ["NODE", "ADDRESS", "RACK", "STATE", "EPOCH"],
        [
            (
                each["node_id"],
                each["address"],
                each["rack"] or "-",
                each["state"],
                each["broker_epoch"],
            )
            for each in brokers
        ],
    )
    if found.controller_id < 0:
        typer.echo(
            f"No controller: too few voters are up, and the states are what node {found.node_id} heard last.",
            err=True,
        )


def _state(broker: Any) -> str:
    if broker.fenced:
        return "fenced"
    return "stopping" if broker.in_controlled_shutdown else "up"


@cluster_app.command(name="raise-level")
def raise_level(
    level: Annotated[int, typer.Argument(metavar="LEVEL")],
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Allow what a newer release writes into the metadata log, once all nodes run it. There is no way back."""

    async def work() -> int:
        from ottla.client.admin import Admin

        async with Admin(bootstrap) as admin:
            return await admin.update_metadata_level(level)

    reached = common.ask(work())
    common.report(json, {"metadata_level": reached}, f"the metadata level is {reached}")


@quorum_app.command(name="describe")
def describe_quorum(
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP, json: common.Json = False
) -> None:
    """Leader, term, and how far each member has got."""

    async def work() -> Any:
        from ottla.client.admin import Admin

        async with Admin(bootstrap) as admin:
            return await admin.describe_quorum()

    found = common.ask(work())
    members = [
        {
            "node_id": each.node_id,
            "role": _role(each, found.leader_id),
            "match_index": each.match_index,
            "lag": each.lag,
            "last_contact_ms": each.last_contact_ms,
            "address": f"{each.host}:{each.port}",
        }
        for each in found.replicas
    ]
    names = (
        "leader_id",
        "term",
        "commit_index",
        "applied_index",
        "log_start_index",
        "log_end_index",
        "snapshot_index",
    )
    facts = {name: getattr(found, name) for name in names}
    if json:
        common.print_json(facts | {"replicas": members})
        return
    typer.echo(
        f"leader {found.leader_id if found.leader_id >= 0 else 'none'}  term {found.term}  "
        f"committed {found.commit_index}  log {found.log_start_index} to {found.log_end_index}  "
        f"snapshot at {found.snapshot_index}"
    )
    common.print_table(
        ["NODE", "ROLE", "HOLDS UP TO", "LAG", "LAST HEARD (MS)", "ADDRESS"],
        [[None if value == -1 else value for value in each.values()] for each in members],
    )


def _role(member: Any, leader_id: int) -> str:
    if member.node_id == leader_id:
        return "leader"
    return "voter" if member.voter else "learner"


@quorum_app.command()
def add(
    node: Node,
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Give a node a vote. It must run already (process.roles=broker) and follow the metadata log."""

    async def work() -> None:
        from ottla.client.admin import Admin

        async with Admin(bootstrap) as admin:
            await admin.add_voter(node)

    common.ask(work())
    common.report(json, {"node_id": node, "voter": True}, f"node {node} votes now")


@quorum_app.command()
def remove(
    node: Node,
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Take a node out of the quorum. Its replicas of partitions stay where they are."""

    async def work() -> None:
        from ottla.client.admin import Admin

        async with Admin(bootstrap) as admin:
            await admin.remove_voter(node)

    common.ask(work())
    common.report(json, {"node_id": node, "voter": False}, f"node {node} is out of the quorum")


@quorum_app.command()
def transfer(
    node: Annotated[
        int, typer.Argument(metavar="[NODE]", help="By default the voter that is furthest ahead.")
    ] = -1,
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Move the quorum's leadership to another voter."""

    async def work() -> int:
        from ottla.client.admin import Admin

        async with Admin(bootstrap) as admin:
            return await admin.transfer_quorum_leadership(node)

    leader = common.ask(work())
    common.report(json, {"leader_id": leader}, f"node {leader} leads the quorum now")
