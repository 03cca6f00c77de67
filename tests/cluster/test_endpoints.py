"""Listeners and voters, from text and with errors that name the part that is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.config import NodeConfig
from cluster.endpoints import Endpoint, advertised, listeners, parse_endpoints, parse_voters
from cluster.errors import ConfigurationError


def config(listen: str, told: str = "") -> NodeConfig:
    return NodeConfig(
        node_id=1,
        controller_quorum_voters="1@a:1",
        listeners=listen,
        advertised_listeners=told,
    )


def test_names_hosts_and_ports() -> None:
    found = parse_endpoints("listeners", "GRPC://a:1, PEER://:2,GRPC_X://[::1]:3")
    assert found["GRPC"] == Endpoint("GRPC", "a", 1)
    assert found["PEER"].address == "0.0.0.0:2"
    assert found["GRPC_X"].host == "[::1]"
    assert found["GRPC_X"].is_grpc
    assert not found["PEER"].is_grpc


@pytest.mark.parametrize(
    "text",
    ["a:1", "PEER://a", "PEER://a:x", "PEER://a:65536", "WEB://a:1", "PEER://a:1,PEER://b:2"],
)
def test_what_is_wrong_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match="listeners") as raised:
        parse_endpoints("listeners", text)
    assert text.partition("://")[0] in str(raised.value)


def test_a_node_needs_a_door_for_its_peers() -> None:
    with pytest.raises(ConfigurationError, match="PEER"):
        listeners(config("GRPC://a:1"))


def test_what_others_are_told() -> None:
    told = advertised(
        config("GRPC://0.0.0.0:0,PEER://a:2,GRPC_X://b:3", "GRPC_X://outside:4"),
        {"GRPC": 1234},
        "machine",
    )
    assert {name: each.address for name, each in told.items()} == {
        "GRPC": "machine:1234",
        "PEER": "a:2",
        "GRPC_X": "outside:4",
    }


def test_only_listeners_can_be_advertised() -> None:
    with pytest.raises(ConfigurationError, match="GRPC_X is not in listeners"):
        advertised(config("PEER://a:2", "GRPC_X://b:3"), {}, "machine")


@pytest.mark.parametrize("text", ["", "1@a", "x@a:1", "1@:1", "a:1", "1@a:1,1@b:2"])
def test_voters_that_are_none(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"controller\.quorum\.voters"):
        parse_voters(text)


HOSTS = st.from_regex(r"[a-z][a-z0-9.-]{0,20}", fullmatch=True)
PORTS = st.integers(0, 65535)


@given(
    hosts=st.dictionaries(st.from_regex(r"PEER|GRPC[A-Z_]{0,5}", fullmatch=True), HOSTS), port=PORTS
)
def test_endpoints_come_back_as_they_were_written(hosts: dict[str, str], port: int) -> None:
    text = ",".join(f"{name}://{host}:{port}" for name, host in hosts.items())
    wanted = {name: Endpoint(name, host, port) for name, host in hosts.items()}
    assert parse_endpoints("listeners", text) == wanted


@given(voters=st.dictionaries(st.integers(0, 10**6), HOSTS, min_size=1), port=PORTS)
def test_voters_come_back_as_they_were_written(voters: dict[int, str], port: int) -> None:
    text = ",".join(f"{node}@{host}:{port}" for node, host in voters.items())
    assert parse_voters(text) == {node: f"{host}:{port}" for node, host in voters.items()}
