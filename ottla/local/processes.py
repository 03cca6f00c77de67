"""One node as a process: started, looked at, signalled. A process id is only trusted together with its start time."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

from ottla.local.errors import LocalClusterError
from ottla.local.layout import LocalNode

POLL_S = 0.02

# Nodes that this process has started: someone must ask for their end, or they stay as zombies.
_children: dict[int, "subprocess.Popen[bytes]"] = {}


class State(Enum):
    """What a node's process is doing."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


def start(node: LocalNode, extra: Sequence[str] = ()) -> int:
    """Start a node that is not running; returns its process id. Raises LocalClusterError when it runs."""
    if state(node) is not State.STOPPED:
        raise LocalClusterError(f"node {node.node_id} is running already (process {pid(node)})")
    arguments = [sys.executable, "-m", "ottla", "server", "--config", str(node.config), *extra]
    with node.log.open("ab") as log:
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    _children[process.pid] = process
    began = _start_time(process.pid)
    node.pid_file.write_text(f"{process.pid} {began}\n", encoding="ascii")
    return process.pid


def pid(node: LocalNode) -> int | None:
    """The id of a node's living process."""
    try:
        number, began = node.pid_file.read_text(encoding="ascii").split()
    except (FileNotFoundError, ValueError):
        return None
    alive = _start_time(int(number)) == int(began) and not _has_ended(int(number))
    child = _children.get(int(number))
    if child is not None and child.poll() is not None:
        del _children[int(number)]
    return int(number) if alive else None


def state(node: LocalNode) -> State:
    """What a node's process is doing."""
    number = pid(node)
    if number is None:
        return State.STOPPED
    return State.PAUSED if _status(number) in ("T", "t") else State.RUNNING


def send(node: LocalNode, what: signal.Signals) -> int:
    """Send a signal; returns the process id. Raises LocalClusterError when there is no process."""
    number = pid(node)
    if number is None:
        raise LocalClusterError(
            f"node {node.node_id} is not running; `ottla local start {node.node_id}` starts it"
        )
    os.kill(number, what)
    return number


def wait_gone(node: LocalNode, timeout_s: float) -> bool:
    """Wait for a node's process to end. Returns whether it did."""
    deadline_s = time.perf_counter() + timeout_s
    while state(node) is not State.STOPPED:
        if time.perf_counter() > deadline_s:
            return False
        time.sleep(POLL_S)
    return True


def last_lines(node: LocalNode, count: int = 5) -> str:
    """The end of a node's log."""
    try:
        return "\n".join(
            node.log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:]
        )
    except FileNotFoundError:
        return ""


def _stat(number: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty when there is no such process."""
    try:
        text = Path(f"/proc/{number}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


def _status(number: int) -> str:
    fields = _stat(number)
    return fields[0] if fields else ""


def _has_ended(number: int) -> bool:
    """A process whose first thread is a zombie while others still end has its files open, and its folder's lock."""
    fields = _stat(number)
    return not fields or fields[0] == "X" or (fields[0] == "Z" and int(fields[17]) <= 1)


def _start_time(number: int) -> int:
    """Clock ticks after boot at which the process began, -1 when there is none (proc(5), field 22)."""
    fields = _stat(number)
    return int(fields[19]) if fields else -1
