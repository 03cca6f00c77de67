"""Who may talk to whom: a caller must mean this node and belong to this cluster."""

import pytest

from cluster.peers.network import Greeting, check_greeting


@pytest.mark.parametrize(("ours", "theirs"), [("c", "c"), ("", "c"), ("c", ""), ("", "")])
def test_the_right_node_of_the_same_or_a_not_yet_known_cluster_is_welcome(
    ours: str, theirs: str
) -> None:
    assert check_greeting(Greeting(2, 1, theirs), 1, ours) is None


def test_a_caller_who_means_another_node_is_refused() -> None:
    """An address that meanwhile belongs to somebody else must not get the old one's messages."""
    refusal = check_greeting(Greeting(2, 3, "c"), 1, "c")
    assert refusal is not None
    assert "this is node 1, but node 2 took it for node 3" in refusal


def test_another_cluster_is_refused_and_both_are_named() -> None:
    refusal = check_greeting(Greeting(2, 1, "theirs"), 1, "ours")
    assert refusal is not None
    assert "theirs" in refusal
    assert "ours" in refusal
