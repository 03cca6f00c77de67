"""Where Ottla answers otherwise than Apache Kafka on purpose, or knowingly: scenario -> (answer, why)."""

from typing import Any

from tests.compat.oracle import recorded

UNKNOWN = "UNKNOWN_TOPIC_OR_PARTITION"


def _changed(scenario: str, *changes: tuple[int, Any]) -> Any:
    """Kafka's answer with other elements at some places."""
    answer = recorded()[scenario]
    for place, element in changes:
        answer[place] = element
    return answer


def _settings() -> Any:
    answer = _changed("describe topic configs", (4, [UNKNOWN, []]))
    answer[0][1] = [each for each in answer[0][1] if each[0] != "file.delete.delay.ms"]
    return answer


DIFFERENCES: dict[str, tuple[Any, str]] = {
    "produce: an unknown compression": (
        ["UNSUPPORTED_COMPRESSION_TYPE", -1],
        "Kafka stumbles; the code that is meant for this is told",
    ),
    "produce: a first sequence that is not 0": (
        ["UNKNOWN_PRODUCER_ID", -1],
        "a producer of which nothing is known begins at 0, so that nothing before it can be missing",
    ),
    "produce: a sequence that wraps": (
        [["UNKNOWN_PRODUCER_ID", -1], ["NONE", 0], ["NONE", 1]],
        "as above; the scenario begins at the highest sequence",
    ),
    "fetch: from a follower": (
        _changed("fetch: from a follower", (2, ["NONE", ["OFFSET_NOT_AVAILABLE", -1, -1, False]])),
        "a follower cannot tell a reader that is ahead of it from one that is lost: the leader can",
    ),
    "fetch: a session": (
        _changed("fetch: a session", (4, ["forget", "NONE", True])),
        "a session without partitions stays until it is closed or pushed out",
    ),
    "delete offsets": (
        [
            ["GROUP_ID_NOT_FOUND", []],
            ["NONE", ["NONE"]],
            *[["GROUP_ID_NOT_FOUND", []]] * 3,
        ],
        "a group that has neither members nor positions any more is gone at once, not at the next clean-up",
    ),
    "bridge: a new member among classic ones": (
        _changed("bridge: a new member among classic ones", (9, ["ILLEGAL_GENERATION"])),
        "nobody commits with the generation that it had before its last join (KIP-1251 is not there yet)",
    ),
    "bridge: refusals": (
        _changed("bridge: refusals", (12, ["ILLEGAL_GENERATION"]), (13, "UNKNOWN_MEMBER_ID")),
        "as above; and an id belongs to one protocol: who changes it joins as somebody else",
    ),
    "bridge: ids that are not known": (
        _changed("bridge: ids that are not known", (2, "UNKNOWN_MEMBER_ID")),
        "as above",
    ),
    "bridge: back to classic": (
        _changed("bridge: back to classic", (10, "UNKNOWN_MEMBER_ID")),
        "a member that was taken out is told so and joins again, which upgrades the group",
    ),
    "bridge: a static member changes its protocol": (
        _changed("bridge: a static member changes its protocol", (7, "UNKNOWN_MEMBER_ID")),
        "as above",
    ),
    "create: the defaults": ([["NONE", 1, 3]], "the default replication factor is 3"),
    "alter configs": (
        _changed("alter configs", (9, ["INVALID_REQUEST"]), (12, [UNKNOWN]), (13, ["NONE"])),
        "an unknown operation is told as such; settings can be made for a broker that is to come",
    ),
    "describe topic configs": (
        _settings(),
        "files are removed at once, so there is no delay to show; no topic has a bad name",
    ),
    "describe broker configs": (
        ["NONE", "BROKER_ID_NOT_REGISTERED", "BROKER_ID_NOT_REGISTERED", "NONE"],
        "any broker answers for any other, and says when there is none",
    ),
    "dynamic broker settings": (
        _changed(
            "dynamic broker settings",
            (1, ["log.cleaner.threads", ["INVALID_CONFIG"], ["NONE"]]),
            (4, ["num.io.threads", ["INVALID_CONFIG"], ["INVALID_CONFIG"]]),
        ),
        "a wrong value is told as such; what would do nothing here is refused",
    ),
    "elect leaders": (
        _changed("elect leaders", (4, ["INVALID_REQUEST", []])),
        "the whole request is refused",
    ),
}
