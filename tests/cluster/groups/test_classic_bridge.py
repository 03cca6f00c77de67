"""Members of both protocols in one group, and how it gets from one to the other (KIP-848, migration)."""

from dataclasses import replace
from typing import Any

import pytest

from cluster.groups.errors import (
    CoordinatorNotAvailableError,
    FencedInstanceIdError,
    GroupIdNotFoundError,
    IllegalGenerationError,
    InconsistentGroupProtocolError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from cluster.groups.reconciliation import NOTHING
from cluster.groups.settings import Caller, GroupSettings, MigrationPolicy
from storage.errors import ErrorCode
from tests.cluster.groups.bridge_house import REBALANCE_MS, SESSION_MS, BridgeHouse
from tests.cluster.groups.consumer_house import (
    G,
    all_of,
    assigned,
    first_heartbeat,
    heartbeat,
    parts,
)
from wire.messages.join_group import JoinGroupResponse

NO_DELAY = GroupSettings(initial_rebalance_delay_ms=0)
T4 = all_of(t=4)
FIRST, SECOND = parts(("t", 0), ("t", 1)), parts(("t", 2), ("t", 3))


def house_of(partitions: int = 4, **settings: Any) -> BridgeHouse:
    return BridgeHouse({"t": partitions}, replace(NO_DELAY, **settings))


def test_a_classic_group_becomes_a_new_one_and_everybody_keeps_what_it_has() -> None:
    house = house_of()
    generation, (one, two) = house.settled_classic(FIRST, SECOND)
    joined = house.join("new")
    assert joined.member_epoch == generation + 1
    assert assigned(joined) == NOTHING
    assert house.coordinator.groups == {}
    assert (house.has(one), house.has(two)) == (FIRST, SECOND)
    assert house.classic_heartbeat(one, generation) == "REBALANCE_IN_PROGRESS"
    assert house.may_commit(one, generation) == "NONE", "what it has read until now"
    before = house.group.current
    house.reload()
    assert house.group.current == before


def test_a_cooperative_member_lets_go_before_the_other_gets_it() -> None:
    house = house_of(3)
    generation, (old,) = house.settled_classic(all_of(t=3), protocols=("cooperative-sticky",))
    new = house.join("new")
    options: dict[str, Any] = {"protocols": ("cooperative-sticky",)}
    again = house.classic_join(old, owned=all_of(t=3), **options)
    assert (again.leader, again.members, again.protocol_name) == ("", (), "cooperative-sticky")
    assert again.generation_id == generation, "it still has everything"
    keeps = house.classic_sync(old, generation, protocol="cooperative-sticky")
    assert len(keeps) == 2
    assert assigned(house.beat("new", new.member_epoch, NOTHING)) in (None, NOTHING)
    assert house.classic_heartbeat(old, generation) == "REBALANCE_IN_PROGRESS"
    assert house.may_commit(old, generation) == "NONE"
    house.reload()
    freed = house.classic_join(old, owned=keeps, **options)
    assert freed.generation_id == new.member_epoch
    assert house.may_commit(old, generation) == "ILLEGAL_GENERATION"
    assert assigned(house.beat("new", new.member_epoch, NOTHING)) == all_of(t=3) - keeps
    assert house.classic_sync(old, freed.generation_id, protocol="cooperative-sticky") == keeps
    assert house.classic_heartbeat(old, freed.generation_id) == "NONE"
    assert house.phase == "Stable"


def test_an_eager_member_has_let_go_when_it_joins() -> None:
    house = house_of(2)
    generation, (old,) = house.settled_classic(all_of(t=2))
    epoch = house.join("new").member_epoch
    again = house.classic_join(old)
    assert again.generation_id == epoch == generation + 1
    assert house.may_commit(old, generation) == "ILLEGAL_GENERATION"
    got = assigned(house.beat("new", epoch, NOTHING))
    assert got is not None
    assert house.classic_sync(old, epoch) == all_of(t=2) - got
    assert len(got) == 1


def test_a_classic_member_joins_members_of_the_new_protocol_whatever_the_policy() -> None:
    house = house_of(2, consumer_migration_policy=MigrationPolicy.DISABLED)
    house.join("new")
    required = house.classic_join(caller=Caller("old", "/127.0.0.1"))
    assert required.error_code == ErrorCode.MEMBER_ID_REQUIRED
    joined = house.classic_join(required.member_id, caller=Caller("old", "/127.0.0.1"))
    assert (joined.error_code, joined.generation_id) == (0, 2)
    assert house.classic_sync(joined.member_id, 2) == NOTHING, "the other has not let go yet"
    assert house.classic_heartbeat(joined.member_id, 2) == "NONE"
    told = house.beat("new", 1, all_of(t=2))
    keeps = assigned(told)
    assert keeps is not None
    house.beat("new", told.member_epoch, keeps)
    assert house.classic_heartbeat(joined.member_id, 2) == "REBALANCE_IN_PROGRESS"
    assert house.classic_join(joined.member_id).generation_id == 2
    assert house.classic_sync(joined.member_id, 2) == all_of(t=2) - keeps
    assert house.classic_heartbeat(joined.member_id, 2) == "NONE"


def test_who_waits_when_the_protocol_changes_has_to_join_again() -> None:
    house = house_of()
    one = house.ask_join()
    two = house.ask_join()
    member = house.answers[one].member_id
    assert two not in house.answers
    house.hold = True
    house.send(first_heartbeat("new"))
    assert two not in house.answers, "not before it is kept"
    house.commit()
    assert isinstance(house.answers[two], RebalanceInProgressError)
    assert house.classic_heartbeat(member, 1) == "REBALANCE_IN_PROGRESS"


def test_what_a_member_brought_from_an_older_generation_is_still_its_own() -> None:
    """It was told to join twice before it heard what it has now: it reads on what it names."""
    house = house_of(4)
    options: dict[str, Any] = {"protocols": ("cooperative-sticky",)}
    house.settled_classic(T4, **options)
    (one,) = house.classic.members
    second = house.ask_join(**options)
    house.ask_join(one, owned=T4, **options)
    third = house.ask_join(**options)
    assert house.classic.state.value == "PreparingRebalance"
    assert house.answers[second].member_id in house.classic.members
    house.join("new")
    assert isinstance(house.answers[third], RebalanceInProgressError)
    assert house.has(one) == T4


def test_an_upgrade_that_is_not_kept_has_not_been() -> None:
    house = house_of()
    generation, (one, _) = house.settled_classic(FIRST, SECOND)
    group = house.classic
    house.hold = True
    house.send(first_heartbeat("new"))
    house.lose_last(CoordinatorNotAvailableError("no room"))
    house.hold = False
    assert house.coordinator.groups == {G: group}
    assert house.coordinator.consumer.groups == {}
    assert house.classic_heartbeat(one, generation) == "NONE"


def test_what_cannot_be_upgraded() -> None:
    house = house_of(consumer_max_size=1)
    house.settled_classic(FIRST, SECOND)
    with pytest.raises(GroupIdNotFoundError, match=r"group\.consumer\.max\.size=1"):
        house.join("new")
    assert house.classic.state.value == "Stable"
    with pytest.raises(UnknownMemberIdError):
        house.beat("new", 3)
    house = house_of()
    _, (one,) = house.settled_classic(T4)
    house.classic.members[one].assignment = b"no Kafka"
    with pytest.raises(GroupIdNotFoundError, match="consumer protocol"):
        house.join("new")
    house.classic.protocol_type = "connect"
    with pytest.raises(GroupIdNotFoundError, match="connect"):
        house.join("new")


def test_a_group_that_reads_what_the_coordinator_has_not_heard_of_is_upgraded_later() -> None:
    house = house_of()
    generation, (old,) = house.settled_classic(T4)
    house.set_topics(u=1)
    with pytest.raises(CoordinatorNotAvailableError, match="reads t"):
        house.join("new")
    assert house.classic_heartbeat(old, generation) == "NONE"
    house.set_topics(t=4)
    house.join("new")
    assert house.has(old) == T4


def mixed(house: BridgeHouse) -> tuple[str, int]:
    """A new member and an eager classic one, settled: the classic one's id and generation."""
    _, (old,) = house.settled_classic(all_of(t=2))
    house.join("new")
    generation = house.classic_join(old).generation_id
    house.classic_sync(old, generation)
    house.beat("new", generation, NOTHING)
    house.settle("new")
    assert house.phase == "Stable"
    return old, generation


def test_the_group_is_a_classic_one_again_when_the_last_new_member_leaves() -> None:
    house = house_of(2)
    old, generation = mixed(house)
    house.beat("new", -1)
    assert house.coordinator.consumer.groups == {}
    assert house.classic.state.value == "PreparingRebalance"
    assert house.classic_heartbeat(old, generation) == "REBALANCE_IN_PROGRESS"
    assert house.may_commit(old, generation) == "NONE"
    joined = house.classic_join(old)
    assert (joined.generation_id, joined.leader) == (generation + 1, old)
    assert house.classic_sync(old, generation + 1, shares={old: all_of(t=2)}) == all_of(t=2)


def test_a_new_coordinator_of_a_group_that_went_back_asks_all_to_join() -> None:
    house = house_of(2)
    old, generation = mixed(house)
    house.beat("new", -1)
    house.reload()
    assert house.coordinator.consumer.groups == {}
    assert house.classic_heartbeat(old, generation) == "REBALANCE_IN_PROGRESS"
    assert house.coordinator.next_deadline_ms(G) is not None


def test_a_group_goes_back_when_the_last_new_member_is_silent_or_taken_out() -> None:
    house = house_of(2)
    old, generation = mixed(house)
    for _ in range(9):
        house.later(5_000)
        if house.coordinator.groups:
            break
        assert house.classic_heartbeat(old, generation) == "NONE"
    assert set(house.classic.members) == {old}
    house = house_of(2)
    old, _ = mixed(house)
    house.classic_leave("new")
    assert set(house.classic.members) == {old}


def test_a_group_stays_new_when_the_policy_says_so() -> None:
    for policy in (MigrationPolicy.DISABLED, MigrationPolicy.UPGRADE):
        house = house_of(2)
        old, generation = mixed(house)
        house.coordinator.configure(replace(NO_DELAY, consumer_migration_policy=policy))
        house.beat("new", -1)
        assert house.classic_heartbeat(old, generation) == "REBALANCE_IN_PROGRESS"
        again = house.classic_join(old)
        assert house.classic_sync(old, again.generation_id) == all_of(t=2)
        assert again.leader == ""
        house.set_topics(t=3)
        assert house.classic_heartbeat(old, again.generation_id) == "REBALANCE_IN_PROGRESS"
        again = house.classic_join(old)
        assert house.classic_sync(old, again.generation_id) == all_of(t=3)


def test_a_group_without_any_member_left_is_no_classic_one() -> None:
    house = house_of(2)
    old, _ = mixed(house)
    house.classic_leave(old)
    house.beat("new", -1)
    assert house.phase == "Empty"


def test_a_downgrade_that_is_not_kept_has_not_been() -> None:
    house = house_of(2)
    old, generation = mixed(house)
    house.hold = True
    leaving = house.send(heartbeat("new", -1))
    joining = house.ask_join(old)
    assert isinstance(house.answers[joining], JoinGroupResponse)
    again = house.ask_join()
    assert again not in house.answers
    house.lose_last(CoordinatorNotAvailableError("no room"))
    house.hold = False
    assert isinstance(house.answers[leaving], CoordinatorNotAvailableError)
    assert isinstance(house.answers[again], CoordinatorNotAvailableError)
    assert house.coordinator.groups == {}
    assert set(house.group.current.members) == {old, "new"}
    assert house.classic_heartbeat(old, generation) == "NONE"


def test_who_is_told_to_join_must_do_so_in_time_and_sync_in_time() -> None:
    house = house_of(2, consumer_session_timeout_ms=10 * REBALANCE_MS)
    old, generation = mixed(house)
    epoch = house.join("more").member_epoch
    assert house.classic_heartbeat(old, generation) == "REBALANCE_IN_PROGRESS"
    for _ in range(REBALANCE_MS // 5_000 - 1):
        house.later(5_000)
        assert house.classic_heartbeat(old, generation) == "REBALANCE_IN_PROGRESS"
    house.later(5_000)
    assert house.classic_heartbeat(old, generation) == "UNKNOWN_MEMBER_ID"
    joined = house.classic_join(old)
    assert joined.generation_id > epoch, "an id that is not known joins anew"
    house.later(5_000)
    for _ in range(REBALANCE_MS // 5_000 - 1):
        assert house.classic_heartbeat(old, joined.generation_id) != "UNKNOWN_MEMBER_ID"
        house.later(5_000)
    assert house.classic_heartbeat(old, joined.generation_id) == "UNKNOWN_MEMBER_ID"


def test_a_silent_classic_member_has_its_own_session() -> None:
    house = house_of(2)
    old, generation = mixed(house)
    house.later(SESSION_MS - 1)
    assert house.classic_heartbeat(old, generation) == "NONE"
    house.reload()
    house.later(SESSION_MS)
    assert old not in house.group.current.members
    assert set(house.group.current.members) == {"new"}


def test_who_was_taken_out_and_reads_on_has_to_let_go_before_it_gets_anything() -> None:
    house = house_of(2)
    mixed(house)
    options: dict[str, Any] = {"protocols": ("cooperative-sticky", "range")}
    protocol = "cooperative-sticky"
    epoch = house.group.current.epoch
    for _ in range(2):
        joined = house.classic_join("gone", owned=all_of(t=1), **options)
        assert (joined.error_code, joined.generation_id) == (0, epoch)
        assert house.may_commit("gone", epoch) == "ILLEGAL_GENERATION", "others have that"
        house.reload()
        assert house.classic_sync("gone", epoch, protocol=protocol) == NOTHING
        assert house.classic_heartbeat("gone", epoch) == "REBALANCE_IN_PROGRESS"
    joined = house.classic_join("gone", **options)
    assert joined.generation_id == epoch + 1
    assert house.may_commit("gone", epoch + 1) == "NONE"


def test_a_member_that_is_silent_since_the_upgrade_is_taken_out() -> None:
    house = house_of(2)
    _, (old,) = house.settled_classic(all_of(t=2))
    house.join("new")
    house.later(SESSION_MS - 1)
    assert set(house.group.current.members) == {old, "new"}
    house.later(1)
    assert set(house.group.current.members) == {"new"}


def test_what_is_refused() -> None:
    house = house_of(2)
    old, generation = mixed(house)
    assert house.classic_heartbeat(old, generation - 1) == "ILLEGAL_GENERATION"
    assert house.classic_heartbeat("new", generation) == "UNKNOWN_MEMBER_ID"
    assert house.classic_heartbeat(old, generation, "i") == "UNKNOWN_MEMBER_ID"
    assert isinstance(house.classic_sync(old, generation + 1), IllegalGenerationError)
    assert isinstance(house.classic_sync("new", generation), UnknownMemberIdError)
    wrong = house.classic_sync(old, generation, protocol="sticky")
    assert isinstance(wrong, InconsistentGroupProtocolError)
    assert isinstance(house.classic_join(protocols=("sticky",)), InconsistentGroupProtocolError)
    assert isinstance(house.classic_join("new"), UnknownMemberIdError)
    with pytest.raises(UnknownMemberIdError):
        house.beat(old, generation)
    assert house.may_commit(old, generation - 1) == "ILLEGAL_GENERATION"
    assert house.may_commit("", -1) == "UNKNOWN_MEMBER_ID"
    house.join("more")
    assert isinstance(house.classic_sync(old, generation), RebalanceInProgressError)


def test_a_static_member_changes_its_protocol_by_a_restart() -> None:
    house = house_of(2)
    generation, (old,) = house.settled_classic(all_of(t=2), instance="i")
    assert assigned(house.join("new", instance_id="i")) == all_of(t=2)
    assert set(house.group.current.members) == {"new"}
    assert house.classic_heartbeat(old, generation, "i") == "FENCED_INSTANCE_ID"
    joined = house.classic_join(instance="i")
    assert joined.error_code == 0
    assert house.coordinator.consumer.groups == {}, "the last new member was replaced"
    with pytest.raises(UnknownMemberIdError):
        house.beat("new", 1, instance_id="i")
    assert isinstance(house.classic_join(old, instance="i"), FencedInstanceIdError)


def test_a_static_classic_member_is_restarted_among_new_ones() -> None:
    house = house_of(2)
    house.join("new")
    first = house.classic_join(instance="i")
    told = house.beat("new", 1, all_of(t=2))
    house.beat("new", told.member_epoch, assigned(told))
    generation = house.classic_join(first.member_id, instance="i").generation_id
    got = house.classic_sync(first.member_id, generation, instance="i")
    assert len(got) == 1
    epoch = house.group.current.epoch
    second = house.classic_join(instance="i")
    assert second.member_id != first.member_id
    assert house.group.current.epoch == epoch, "nothing changes for the others"
    assert house.classic_sync(second.member_id, second.generation_id, instance="i") == got
    assert house.classic_heartbeat(first.member_id, generation, "i") == "FENCED_INSTANCE_ID"
    assert house.has("new") | got == all_of(t=2)
