"""What to tell an operator when the metadata quorum has no leader."""

from collections.abc import Collection


def no_leader(node_id: int, voters: Collection[int], gone: Collection[int]) -> str:
    """Which voters there are, how many must be up, which of them nobody answers for, and the way out.

    gone: the nodes that `node_id` finds gone.
    """
    needed = len(voters) // 2 + 1
    missing = sorted(set(voters) & set(gone))
    found = f"there is no controller: node {node_id} knows no leader of the metadata quorum; "
    found += f"its voters are nodes {_list(sorted(voters))}, {needed} of them must be up"
    if len(voters) - len(missing) < needed:
        return (
            f"{found}, and nobody answers at nodes {_list(missing)}; start voters, it goes on by itself"
            if len(missing) > 1
            else f"{found}, and nobody answers at node {missing[0]}; start it, it goes on by itself"
        )
    absent = f" (nobody answers at {_list(missing)})" if missing else ""
    return (
        f"{found}{absent} and reach each other; when an election does not end this within seconds, look at their "
        f"logs and their network, and at `ottla quorum describe`"
    )


def _list(nodes: list[int]) -> str:
    *first, last = map(str, nodes)
    return f"{', '.join(first)} and {last}" if first else last
