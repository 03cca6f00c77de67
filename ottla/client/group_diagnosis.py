"""Why a group is not moving, in sentences. Pure: facts in, words out, the most important first."""

from collections.abc import Callable, Iterable, Sequence

from ottla.client.group_facts import GroupFacts, PartitionFacts
from ottla.client.records import TopicPartition

REBALANCING = ("PreparingRebalance", "CompletingRebalance")
NAMES_SHOWN = 3
OLD_COMMIT_MS = 60_000
COMMITS_EVERY_S = 5
"""Every client's default auto.commit.interval.ms: who looks for a shorter time may see no commit of one that reads."""


def diagnose(now: GroupFacts, earlier: GroupFacts | None = None) -> list[str]:
    """At least one sentence. `earlier`: the same group a little before, for what moves."""
    rules: list[Callable[[], Iterable[str]]] = [
        lambda: _nobody(now),
        lambda: _rebalancing(now),
        lambda: _assigning(now),
        lambda: _reconciling(now),
        lambda: _gone_topics(now),
        lambda: _leaderless(now),
        lambda: _beyond_end(now),
        lambda: _before_start(now),
        lambda: _unread(now),
        lambda: _never_committed(now),
        lambda: _movement(now, earlier),
        lambda: _idle_members(now),
        lambda: _at_the_end(now),
    ]
    found = [sentence for rule in rules for sentence in rule()]
    return found or [_plain(now)]


def _nobody(now: GroupFacts) -> Iterable[str]:
    if now.members or now.state not in ("Empty", "Dead"):
        return
    since = _since(now)
    if not any(each.committed >= 0 for each in now.partitions):
        yield f"Nobody reads{since}, and no position was ever committed: the group has a name and nothing else."
    elif now.lag:
        yield (
            f"Nobody reads{since}: the group has no members, and {_records(now.lag)} wait. Start a consumer with "
            f"group id {now.group_id}."
        )
    else:
        yield f"Nobody reads{since}: the group has no members. No record waits for it either."


def _rebalancing(now: GroupFacts) -> Iterable[str]:
    if now.state not in REBALANCING:
        return
    since, alone = _since(now), len(now.members) == 1
    if now.state == "CompletingRebalance":
        joined = (
            "its only member has joined, and has to assign"
            if alone
            else f"all {_members(len(now.members))} have joined, and wait for the leading one to assign"
        )
        yield f"The group is rebalancing{since}: {joined}."
    else:
        awaited = "its only member" if alone else f"every one of {_members(len(now.members))}"
        yield (
            f"The group is rebalancing{since}: it waits for {awaited} to join again; one that does not poll holds the "
            f"others up until its max.poll.interval.ms is over, one that ended without leaving until its "
            f"session.timeout.ms is."
        )


def _assigning(now: GroupFacts) -> Iterable[str]:
    if now.state == "Assigning":
        yield (
            f"The group is at epoch {now.epoch}, its targets at {now.assignment_epoch}: they are made with the next "
            f"heartbeat of a member."
        )


def _reconciling(now: GroupFacts) -> Iterable[str]:
    if now.state != "Reconciling":
        return
    holding = [
        (each, sorted(set(each.partitions) - set(each.target or ()))) for each in now.members
    ]
    for member, extra in holding:
        if extra:
            yield (
                f"Member {member.instance_id or member.member_id} at {member.host.lstrip('/')} has to let go "
                f"{_listed([_name(each) for each in extra])} before others get them."
            )
    behind = [each for each in now.members if each.epoch < now.assignment_epoch]
    if behind and not any(extra for _, extra in holding):
        names = _listed([each.instance_id or each.member_id for each in behind])
        yield f"{names} {_has(behind)} not heard of epoch {now.assignment_epoch} yet."


def _gone_topics(now: GroupFacts) -> Iterable[str]:
    topics = sorted({each.where.topic for each in now.partitions if not each.exists})
    if topics:
        yield (
            f"{_listed(topics)} {_is(topics)} gone, positions are left: `ottla groups delete-offsets` forgets them."
        )


def _leaderless(now: GroupFacts) -> Iterable[str]:
    found = [each for each in now.partitions if each.exists and each.leader < 0]
    if found:
        yield (
            f"{_named(found)} {_has(found)} no leader, so that nothing can be read there: see "
            f"`ottla topics describe --unavailable`."
        )


def _beyond_end(now: GroupFacts) -> Iterable[str]:
    found = [each for each in now.partitions if 0 <= each.end < each.committed]
    if found:
        yield (
            f"{_named(found)}: the committed offset {found[0].committed} is beyond the end {found[0].end}. The topic "
            f"was made anew or records were lost; consumers go on by their auto.offset.reset, or after "
            f"`ottla groups reset-offsets`."
        )


def _before_start(now: GroupFacts) -> Iterable[str]:
    found = [each for each in now.partitions if 0 <= each.committed < each.start]
    if found:
        lost = sum(each.start - each.committed for each in found)
        yield (
            f"{_named(found)}: the committed offset {found[0].committed} is before the start {found[0].start}: "
            f"{_records(lost)} went by retention before they were read. Consumers go on by their auto.offset.reset."
        )


def _unread(now: GroupFacts) -> Iterable[str]:
    if now.state != "Stable":
        return
    found = [each for each in now.partitions if each.member is None and each.exists and each.lag]
    if found:
        waiting = _records(sum(each.lag or 0 for each in found))
        yield (
            f"No member reads {_named(found)}, where {waiting} wait: the topic is no longer "
            f"subscribed to, or its positions are from before."
        )


def _never_committed(now: GroupFacts) -> Iterable[str]:
    if now.state != "Stable":
        return
    found = [
        each
        for each in now.partitions
        if each.member is not None and each.committed < 0 and each.end > max(each.start, 0)
    ]
    if found:
        yield (
            f"{_named(found)} {_has(found)} a reader and records, but nothing was committed: the members do not commit "
            f"(enable.auto.commit off?), are paused, or have not finished with a first record."
        )


def _movement(now: GroupFacts, earlier: GroupFacts | None) -> Iterable[str]:
    if now.state != "Stable" or not now.lag:
        return
    stuck = [each for each in now.partitions if each.member is not None and each.lag]
    if earlier is not None and now.now_ms > earlier.now_ms:
        before = {each.where: each.committed for each in earlier.partitions}
        stuck = [each for each in stuck if before.get(each.where) == each.committed]
    old = [each for each in stuck if 0 <= each.committed_ms <= now.now_ms - OLD_COMMIT_MS]
    if earlier is not None and now.now_ms > earlier.now_ms:
        yield from _rates(now, earlier, told=bool(old))
    if old:
        worst = min(old, key=lambda each: each.committed_ms)
        yield (
            f"{_named(old)}: the last commit is {_span(now.now_ms - worst.committed_ms)} old although records wait: "
            f"{_who(worst)} is stuck at offset {worst.committed}, paused, or slow."
        )


def _rates(now: GroupFacts, earlier: GroupFacts, *, told: bool) -> Iterable[str]:
    """told: why nothing is committed is said by another sentence."""
    seconds = (now.now_ms - earlier.now_ms) / 1000
    before = {each.where: each for each in earlier.partitions}
    pairs = [
        (before[each.where], each)
        for each in now.partitions
        if each.where in before and each.lag is not None and before[each.where].lag is not None
    ]
    read = sum(max(new.committed - old.committed, 0) for old, new in pairs)
    came = sum(max(new.end - old.end, 0) for old, new in pairs)
    if read == 0:
        if pairs and not told:
            yield _unmoved(now, seconds, came / seconds)
    elif came > read:
        yield (
            f"The lag of {_records(now.lag)} grows: {came / seconds:.0f} records a second come, "
            f"{read / seconds:.0f} are committed. More members help as long as there are partitions for "
            f"them ({len(now.partitions)})."
        )
    elif read > came:
        left_s = now.lag / ((read - came) / seconds)
        yield (
            f"The group catches up: {_records(now.lag)} wait, {read / seconds:.0f} a second are committed, "
            f"{came / seconds:.0f} come; about {_span(int(left_s * 1000))} left."
        )


def _unmoved(now: GroupFacts, seconds: float, came: float) -> str:
    """Looked at twice, and nothing was committed between."""
    found = (
        f"{_waits(now)}, {came:.0f} a second come, and nothing was committed within {seconds:.0f} s"
    )
    why = "busy with what they were given, paused, or do not commit"
    if seconds > COMMITS_EVERY_S:
        return f"{found}: the members are {why}."
    return (
        f"{found}, which says little: members commit every {COMMITS_EVERY_S} s by default. If --sample-s "
        f"{2 * COMMITS_EVERY_S} sees no commit either, they are {why}."
    )


def _idle_members(now: GroupFacts) -> Iterable[str]:
    idle = [each for each in now.members if not each.partitions]
    if now.state == "Stable" and idle and now.partitions:
        read = sum(each.member is not None for each in now.partitions)
        names = _listed([each.instance_id or each.member_id for each in idle])
        yield (
            f"{names} {_has(idle)} no partition: {_members(len(now.members))} share {read}. More partitions, or fewer "
            f"members."
        )


def _at_the_end(now: GroupFacts) -> Iterable[str]:
    known = [each for each in now.partitions if each.lag is not None]
    if now.state == "Stable" and known and len(known) == len(now.partitions) and not now.lag:
        yield "The group is at the end of all it reads: no record waits."


def _waits(now: GroupFacts) -> str:
    count = sum(bool(each.lag) for each in now.partitions)
    verb, places = "waits" if now.lag == 1 else "wait", "partition" if count == 1 else "partitions"
    return f"{_records(now.lag)} {verb} in {count} {places}"


def _plain(now: GroupFacts) -> str:
    if now.state != "Stable":
        return f"The group is {now.state}."
    if not now.partitions:
        return (
            f"{_members(len(now.members))}, and no partition: what they subscribe to does not exist, or is empty of "
            f"partitions."
        )
    return f"The group reads: {_waits(now)}."


def _since(now: GroupFacts) -> str:
    if now.since_ms < 0 or now.now_ms < now.since_ms:
        return ""
    return f" since {_span(now.now_ms - now.since_ms)}"


def _span(milliseconds: int) -> str:
    seconds = milliseconds // 1000
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _who(each: PartitionFacts) -> str:
    assert each.member is not None
    member = each.member
    return f"member {member.instance_id or member.member_id} at {member.host.lstrip('/')}"


def _named(found: Sequence[PartitionFacts]) -> str:
    return _listed([_name(each.where) for each in found])


def _name(where: TopicPartition) -> str:
    return f"{where.topic}-{where.partition}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    more = len(names) - NAMES_SHOWN
    return shown if more <= 0 else f"{shown} and {more} more"


def _records(count: int) -> str:
    return f"{count} record" if count == 1 else f"{count} records"


def _members(count: int) -> str:
    return f"{count} member" if count == 1 else f"{count} members"


def _has(found: Sequence[object]) -> str:
    return "has" if len(found) == 1 else "have"


def _is(found: Sequence[object]) -> str:
    return "is" if len(found) == 1 else "are"
