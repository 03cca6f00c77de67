"""Kafka clients that asked one thing and then nothing: `python -m benchmarks.idle_connections HOST PORT COUNT`.

They stay until standard input ends. "open" is written once all are there.
"""

import asyncio
import resource
import sys

from benchmarks.group_members import Connection
from wire.messages.metadata import MetadataRequest

AT_ONCE = 200
VERSION = 12


async def hold(host: str, port: int, count: int) -> None:
    """Open them, and wait."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one() -> Connection:
        async with slots:
            connection = await Connection.to((host, port))
            await connection.call(MetadataRequest(topics=()), VERSION)
            return connection

    held = await asyncio.gather(*(one() for _ in range(count)))
    print("open", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    del held


def main() -> None:
    """Take as many files as the system lets us have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    host, port, count = sys.argv[1:]
    asyncio.run(hold(host, int(port), int(count)))


if __name__ == "__main__":
    main()
