"""`ottla local`: a cluster of real processes on this machine, to try failover by hand."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ottla.cli import common

if TYPE_CHECKING:
    from ottla.local.cluster import LocalCluster

app = typer.Typer(
    no_args_is_help=True,
    help="A cluster of real processes on this machine, to try failover by hand: "
    "`ottla local up`, `ottla local kill 1`, `ottla local status`.",
)

Dir = Annotated[Path, typer.Option("--dir", envvar="OTTLA_LOCAL_DIR", help="The cluster's folder.")]
DEFAULT_DIR = Path("ottla-data")
NodeId = Annotated[
    int, typer.Argument(metavar="NODE", help="The node's id, as `ottla local status` shows it.")
]
Nodes = Annotated[
    int | None, typer.Option("--nodes", help="How many nodes a new cluster has.", show_default="3")
]
BasePort = Annotated[
    int | None,
    typer.Option(
        "--base-port",
        help="Node N of a new cluster serves gRPC clients at this port + N, its peers at + 100 + N and Kafka clients "
        "at + 200 + N.",
        show_default="19090",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any broker setting, for every node of a new cluster; may be repeated.",
    ),
]


@app.command()
def init(
    directory: Dir = DEFAULT_DIR,
    nodes: Nodes = None,
    base_port: BasePort = None,
    set_: Settings = None,
    json: common.Json = False,
) -> None:
    """Write the configuration of a new cluster; nothing is started."""
    cluster = _make(directory, nodes, base_port, set_)
    common.report(
        json,
        _made(cluster),
        *(f"wrote {node.config}" for node in cluster.nodes),
        f"`ottla local up{_where(directory)}` starts it",
    )


@app.command()
def up(
    directory: Dir = DEFAULT_DIR,
    nodes: Nodes = None,
    base_port: BasePort = None,
    set_: Settings = None,
    json: common.Json = False,
) -> None:
    """Start every node that is not running, and wait until all serve. Makes the cluster first if there is none."""
    from ottla.local.cluster import LocalCluster

    if any(directory.glob("node*.toml")):
        cluster = common.guarded(lambda: LocalCluster(directory))
        if nodes is not None or base_port is not None or set_:
            common.fail(
                f"there is a cluster in {directory} already: --nodes, --base-port and --set are for new ones. Change "
                f"its node*.toml, remove the folder, or name another with --dir"
            )
    else:
        cluster = _make(directory, nodes, base_port, set_)
    with common.waiting(f"starting {len(cluster.nodes)} nodes"):
        common.run(cluster.up())
    common.report(
        json,
        _made(cluster),
        f"{len(cluster.nodes)} nodes serve; --bootstrap {cluster.bootstrap}\n"
        f"Kafka clients: {','.join(node.kafka for node in cluster.nodes)}",
    )


@app.command()
def start(node: NodeId, directory: Dir = DEFAULT_DIR, json: common.Json = False) -> None:
    """Start one node and wait until it serves."""
    from ottla.local.cluster import LocalCluster

    cluster = common.guarded(lambda: LocalCluster(directory))
    pid = common.guarded(lambda: cluster.start(node))
    with common.waiting(f"starting node {node}"):
        common.run(cluster.wait_serving([node]))
    common.report(json, _state(node, pid, "running"), f"node {node} serves (process {pid})")


@app.command()
def kill(node: NodeId, directory: Dir = DEFAULT_DIR, json: common.Json = False) -> None:
    """Kill a node with SIGKILL: no goodbye, as when its machine dies."""
    from ottla.local.cluster import LocalCluster

    pid = common.guarded(lambda: LocalCluster(directory).kill(node))
    common.report(json, _state(node, pid, "stopped"), f"node {node} killed (process {pid})")


@app.command()
def pause(node: NodeId, directory: Dir = DEFAULT_DIR, json: common.Json = False) -> None:
    """Pause a node with SIGSTOP: its connections stay, it is silent."""
    from ottla.local.cluster import LocalCluster

    pid = common.guarded(lambda: LocalCluster(directory).pause(node))
    common.report(json, _state(node, pid, "paused"), f"node {node} paused (process {pid})")


@app.command()
def resume(node: NodeId, directory: Dir = DEFAULT_DIR, json: common.Json = False) -> None:
    """Let a paused node go on."""
    from ottla.local.cluster import LocalCluster

    pid = common.guarded(lambda: LocalCluster(directory).resume(node))
    common.report(json, _state(node, pid, "running"), f"node {node} goes on (process {pid})")


@app.command()
def stop(node: NodeId, directory: Dir = DEFAULT_DIR, json: common.Json = False) -> None:
    """Stop a node in peace: its leaderships move first, clients notice nothing."""
    from ottla.local.cluster import LocalCluster

    with common.waiting(f"stopping node {node}"):
        pid = common.guarded(lambda: LocalCluster(directory).stop(node))
    common.report(json, _state(node, pid, "stopped"), f"node {node} stopped (process {pid})")


@app.command()
def status(directory: Dir = DEFAULT_DIR, json: common.Json = False) -> None:
    """What every node is doing. role: leader or follower of the metadata quorum."""
    from ottla.local.cluster import LocalCluster

    cluster = common.guarded(lambda: LocalCluster(directory))
    rows = common.run(cluster.status())
    if json:
        common.print_json([row._asdict() for row in rows])
        return
    common.print_table(
        ["NODE", "PID", "STATE", "ROLE", "GRPC", "KAFKA"],
        [(row.node_id, row.pid, row.state, row.role, row.grpc, row.kafka) for row in rows],
    )


@app.command()
def down(directory: Dir = DEFAULT_DIR, json: common.Json = False) -> None:
    """Stop every node. Data stay; `ottla local up` goes on with them."""
    from ottla.local.cluster import LocalCluster

    with common.waiting("stopping"):
        stopped = common.guarded(lambda: LocalCluster(directory).down())
    named = ", ".join(f"node {node}" for node in stopped)
    common.report(
        json, {"stopped": stopped}, f"stopped {named}" if stopped else "nothing was running"
    )


def _make(
    directory: Path, nodes: int | None, base_port: int | None, set_: list[str] | None
) -> "LocalCluster":
    from ottla.local.cluster import LocalCluster

    settings = common.parse_assignments("--set", set_ or [])
    return common.guarded(
        lambda: LocalCluster.init(
            directory,
            nodes=3 if nodes is None else nodes,
            base_port=19090 if base_port is None else base_port,
            settings=settings,
        )
    )


def _made(cluster: "LocalCluster") -> dict[str, Any]:
    return {
        "dir": str(cluster.folder),
        "bootstrap": cluster.bootstrap,
        "nodes": [
            {
                "node_id": node.node_id,
                "grpc": node.grpc,
                "kafka": node.kafka,
                "config": str(node.config),
            }
            for node in cluster.nodes
        ],
    }


def _state(node: int, pid: int, state: str) -> dict[str, Any]:
    return {"node_id": node, "pid": pid, "state": state}


def _where(directory: Path) -> str:
    return "" if directory == DEFAULT_DIR else f" --dir {directory}"
