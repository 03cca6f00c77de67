"""Memory for requests under way: bounded, and never so that everybody waits for everybody."""

from hypothesis import given
from hypothesis import strategies as st

from cluster.listeners.kafka.budget import ReceiveBudget


class Receiver:
    def __init__(self) -> None:
        self.reading = True
        self.held = 0

    def go_on(self) -> None:
        self.reading = True


def test_above_the_limit_one_reads_on_and_the_others_follow_when_it_is_done() -> None:
    budget = ReceiveBudget(100)
    first, second, third = Receiver(), Receiver(), Receiver()
    assert budget.update(first, 90)
    second.reading = budget.update(second, 20)
    third.reading = budget.update(third, 20)
    assert (second.reading, third.reading) == (True, False)
    budget.update(second, 0)
    # 110 bytes are still too many for all, and one must be able to end.
    assert third.reading
    budget.update(first, 0)
    assert budget.held_bytes == 20


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 80)), max_size=200))
def test_somebody_who_holds_something_can_always_go_on(changes: list[tuple[int, int]]) -> None:
    budget = ReceiveBudget(100)
    receivers = [Receiver() for _ in range(6)]
    for index, held in changes:
        receiver = receivers[index]
        if not receiver.reading and held:
            continue
        receiver.held = held
        receiver.reading = True
        if not budget.update(receiver, held):
            receiver.reading = False
        holding = [each for each in receivers if each.held]
        assert budget.held_bytes == sum(each.held for each in holding)
        assert not holding or any(each.reading for each in holding)
        if budget.held_bytes <= 100:
            assert all(each.reading for each in receivers)
