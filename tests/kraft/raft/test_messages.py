"""Messages survive their bytes; bytes that are none are refused."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraft.raft.membership import Member, Membership
from kraft.raft.messages import (
    AnyMessage,
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    EntryKind,
    InstallSnapshot,
    InstallSnapshotResponse,
    PreVote,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    SnapshotMeta,
    TimeoutNow,
    decode,
    encode,
)

number = st.integers(0, 2**63 - 1)
entry = st.builds(Entry, number, number, st.sampled_from(EntryKind), st.binary(max_size=50))
member = st.builds(Member, number, st.text(max_size=9), st.booleans(), st.binary(max_size=9))
membership = st.builds(Membership, st.lists(member, max_size=3).map(tuple))
snapshot = st.builds(SnapshotMeta, number, number, membership, number, number)
head = (number, number, number)
message = st.one_of(
    st.builds(PreVote, *head, number, number),
    st.builds(PreVoteResponse, *head, st.booleans()),
    st.builds(RequestVote, *head, number, number, st.booleans()),
    st.builds(RequestVoteResponse, *head, st.booleans()),
    st.builds(
        AppendEntries, *head, number, number, number, number, st.lists(entry, max_size=3).map(tuple)
    ),
    st.builds(AppendEntriesResponse, *head, st.booleans(), number, number, number, number, number),
    st.builds(InstallSnapshot, *head, snapshot, number, st.binary(max_size=50)),
    st.builds(InstallSnapshotResponse, *head, number, number, st.booleans()),
    st.builds(TimeoutNow, *head),
)


@given(message)
def test_a_message_is_the_same_after_its_bytes(sent: AnyMessage) -> None:
    assert decode(encode(sent)) == sent


@given(membership)
def test_a_membership_is_the_same_after_its_bytes(members: Membership) -> None:
    assert Membership.decode(members.encode()) == members


@pytest.mark.parametrize(
    "garbage", [b"", b"\x00", b"GET / HTTP/1.1\r\n", b"\x94\x63\x01\x02\x03", b"\x91\x05"]
)
def test_bytes_that_are_no_message_are_refused(garbage: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(garbage)


def test_the_numbers_of_entry_kinds_stand_in_logs_and_never_change() -> None:
    assert {kind.name: int(kind) for kind in EntryKind} == {
        "COMMAND": 0,
        "NOOP": 1,
        "MEMBERSHIP": 2,
    }
