"""Which files make up a log: decided by names alone."""

from hypothesis import given
from hypothesis import strategies as st

from storage.segment_name import SegmentName, parse, resolve

NAMES = st.builds(
    SegmentName,
    st.integers(0, 10**15),
    st.integers(0, 10**7),
    st.integers(0, 99),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


@given(NAMES)
def test_a_name_says_what_it_was_made_of(name: SegmentName) -> None:
    assert parse(name.file_name) == name


def test_other_files_are_no_segments() -> None:
    name = SegmentName(5, 1)
    for other in ("log.checkpoint", f"{name.stem}.index", f"{name.file_name}.tmp", "5-1-0.log", ""):
        assert parse(other) is None


def test_rolled_segments_follow_each_other() -> None:
    names = [SegmentName(0, 0, resets=True), SegmentName(100, 1), SegmentName(200, 2)]
    assert resolve(reversed(names)) == (names, [])


def test_a_cut_makes_void_what_lies_behind_it() -> None:
    first, second, third = SegmentName(0, 0), SegmentName(100, 1), SegmentName(200, 2)
    cut = SegmentName(150, 3)
    assert resolve([first, second, third, cut]) == ([first, second, cut], [third])


def test_a_reset_makes_everything_void() -> None:
    first, reset = SegmentName(0, 0), SegmentName(500, 1, resets=True)
    assert resolve([first, reset]) == ([reset], [first])


def test_the_highest_revision_counts() -> None:
    first, cleaned, second = SegmentName(0, 0), SegmentName(0, 0, 1), SegmentName(100, 1)
    assert resolve([first, cleaned, second]) == ([cleaned, second], [first])


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 50)), max_size=20))
def test_any_history_of_rolls_and_cuts_resolves_to_the_last_picture(
    history: list[tuple[bool, int]],
) -> None:
    live, names, end = [SegmentName(0, 0, resets=True)], [SegmentName(0, 0, resets=True)], 0
    for sequence, (cuts, by) in enumerate(history, start=1):
        end = max(0, end - by) if cuts else end + by
        name = SegmentName(end, sequence)
        live = [other for other in live if other.base_offset < end] + [name]
        names.append(name)
    found, void = resolve(names)
    assert found == live
    assert sorted(found + void) == sorted(names)
