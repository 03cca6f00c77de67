"""Topic names: Kafka's rules (org.apache.kafka.common.internals.Topic)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraft.metadata.errors import InvalidTopicNameError
from kraft.metadata.topic_names import check_collision, check_topic_name, collision_keys


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "...", "__consumer_offsets", "x" * 249])
def test_good_names(name: str) -> None:
    check_topic_name(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        (".", "'.' or '..'"),
        ("..", "'.' or '..'"),
        ("x" * 250, "250 characters, at most 249"),
        ("a b", "only ASCII letters"),
        ("a\n", "only ASCII letters"),
        ("zażółć", "only ASCII letters"),
        ("a/b", "only ASCII letters"),
        ("٣", "only ASCII letters"),
    ],
)
def test_bad_names_are_told_the_rule(name: str, why: str) -> None:
    with pytest.raises(InvalidTopicNameError, match=why):
        check_topic_name(name)


@given(st.from_regex(r"\A[a-zA-Z0-9._-]{1,249}\Z"))
def test_every_name_of_legal_characters_but_two_is_good(name: str) -> None:
    if name not in (".", ".."):
        check_topic_name(name)


def test_names_that_differ_only_in_dot_and_underscore_collide() -> None:
    taken = collision_keys(["a.b", "c_d"])
    for name, other in [("a_b", "a.b"), ("c.d", "c_d")]:
        with pytest.raises(InvalidTopicNameError, match=other):
            check_collision(name, taken)
    for name in ["a.b", "a-b", "ab"]:
        check_collision(name, taken)
