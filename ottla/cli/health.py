"""`ottla health`: does a node serve?"""

from typing import Annotated, Any

import typer

from ottla.cli import common


def health(
    address: Annotated[
        str, typer.Option("--address", metavar="HOST:PORT", help="A node's gRPC door.")
    ] = "127.0.0.1:9090",
) -> None:
    """Exit with 0 if a node is in the cluster and serves clients: for health checks of containers."""
    import grpc
    import grpc.aio
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from ottla.client.errors import NoBrokerError, plain_reason

    async def work() -> Any:
        async with grpc.aio.insecure_channel(address) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            try:
                return await stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=3)
            except grpc.aio.AioRpcError as error:
                raise NoBrokerError(
                    f"{address}: {plain_reason(error)}; --address names another gRPC door"
                ) from None

    status = health_pb2.HealthCheckResponse.ServingStatus.Name(common.run(work()).status)
    typer.echo(status)
    if status != "SERVING":
        raise typer.Exit(1)
