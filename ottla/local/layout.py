"""Where a local cluster keeps its things, and which ports its nodes use.

DIR/node1.toml   configuration, as `ottla server --config` takes it
DIR/node1/       data
DIR/node1.log    what the node says
DIR/node1.pid    the process: its id and when it began
"""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.config import load
from ottla.local.errors import LocalClusterError

HOST = "127.0.0.1"
# Added to the base port, with the node's id: node 1 of base port 19090 serves gRPC at 19091.
PEER_OFFSET = 100
KAFKA_OFFSET = 200
NODES_MAX = 99


@dataclass(frozen=True, slots=True)
class LocalNode:
    """One node of a local cluster, as its files say."""

    node_id: int
    folder: Path

    @property
    def config(self) -> Path:
        """Its TOML file."""
        return self.folder / f"node{self.node_id}.toml"

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / f"node{self.node_id}.log"

    @property
    def pid_file(self) -> Path:
        """Its process."""
        return self.folder / f"node{self.node_id}.pid"

    def settings(self) -> dict[str, Any]:
        """What its TOML file says. Raises LocalClusterError."""
        try:
            return tomllib.loads(self.config.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise LocalClusterError(f"{self.config} cannot be read: {error}") from None

    def addresses(self) -> dict[str, str]:
        """Listener name -> host:port."""
        listeners = str(self.settings().get("listeners", ""))
        return dict(part.strip().split("://", 1) for part in listeners.split(",") if "://" in part)

    @property
    def grpc(self) -> str:
        """host:port of its gRPC door."""
        return self.addresses().get("GRPC", "")

    @property
    def kafka(self) -> str:
        """host:port of its Kafka door."""
        address = self.addresses().get("KAFKA")
        if address:
            return address
        host, _, port = self.grpc.rpartition(":")
        return f"{host}:{int(port) + KAFKA_OFFSET}"


def find_nodes(folder: Path) -> list[LocalNode]:
    """The nodes of a cluster, by id. Raises LocalClusterError when there are none."""
    found = [
        LocalNode(int(match.group(1)), folder)
        for path in sorted(folder.glob("node*.toml"))
        if (match := re.fullmatch(r"node(\d+)\.toml", path.name))
    ]
    if not found:
        raise LocalClusterError(
            f"there is no cluster in {folder}: make one with `ottla local up`, or name its folder with --dir"
        )
    return sorted(found, key=lambda node: node.node_id)


def write_configs(
    folder: Path, nodes: int, base_port: int, settings: Mapping[str, str]
) -> list[LocalNode]:
    """The files of a new cluster. Raises LocalClusterError when there is one already, or on a bad number, and
    ConfigurationError on a setting that no node takes.
    """
    if not 1 <= nodes <= NODES_MAX:
        raise LocalClusterError(f"--nodes {nodes}: between 1 and {NODES_MAX}")
    if not 1 <= base_port <= 65535 - KAFKA_OFFSET - nodes:
        raise LocalClusterError(
            f"--base-port {base_port}: between 1 and {65535 - KAFKA_OFFSET - nodes}"
        )
    if list(folder.glob("node*.toml")):
        raise LocalClusterError(
            f"there is a cluster in {folder} already: `ottla local up --dir {folder}` starts it, or remove the folder"
        )
    voters = ",".join(
        f"{node}@{HOST}:{base_port + PEER_OFFSET + node}" for node in range(1, nodes + 1)
    )
    made = [LocalNode(node, folder.absolute()) for node in range(1, nodes + 1)]
    contents = [_values(node, voters, base_port, nodes, settings) for node in made]
    # A wrong setting is told before there is a folder with it.
    load(None, {}, (f"{key}={value}" for key, value in contents[0].items()))
    folder.mkdir(parents=True, exist_ok=True)
    for node, values in zip(made, contents, strict=True):
        lines = [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in values.items()]
        node.config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return made


def _values(
    node: LocalNode, voters: str, base_port: int, nodes: int, settings: Mapping[str, str]
) -> dict[str, Any]:
    listeners = (
        f"GRPC://{HOST}:{base_port + node.node_id},"
        f"KAFKA://{HOST}:{base_port + KAFKA_OFFSET + node.node_id},"
        f"PEER://{HOST}:{base_port + PEER_OFFSET + node.node_id}"
    )
    return {
        "node.id": node.node_id,
        "controller.quorum.voters": voters,
        "listeners": listeners,
        "log.dir": str(node.folder / f"node{node.node_id}"),
        **_safe_defaults(nodes),
        **settings,
    }


def _safe_defaults(nodes: int) -> dict[str, int]:
    """Topics that survive the loss of a node without being asked for it, where there are nodes enough."""
    if nodes < 3:
        return {}
    return {"default.replication.factor": 3, "min.insync.replicas": 2}
