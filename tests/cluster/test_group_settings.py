"""What coordinators are told follows the metadata."""

from cluster.group_settings import GroupSettingsSource
from cluster.groups.settings import ConsumerTimes
from kraft.metadata.group_config import HEARTBEAT, SESSION
from kraft.metadata.records import CLUSTER, ConfigResource, ResourceType
from tests.kraft.metadata.lab import Lab

GROUP = ConfigResource(ResourceType.GROUP, "g")


def test_a_groups_own_times_hold_as_soon_as_they_are_set_and_within_the_limits() -> None:
    lab = Lab(1)
    source = GroupSettingsSource(lambda: lab.image, {})
    assert source.current().consumer_times("g") == ConsumerTimes(45_000, 5_000)
    lab.configure(GROUP, {SESSION: "50000", HEARTBEAT: "6000"})
    assert source.current().consumer_times("g") == ConsumerTimes(50_000, 6_000)
    assert source.current().consumer_times("other") == ConsumerTimes(45_000, 5_000)
    lab.configure(CLUSTER, {"group.consumer.max.session.timeout.ms": "46000"})
    assert source.current().consumer_times("g") == ConsumerTimes(46_000, 6_000)
    lab.configure(GROUP, unset=(SESSION,))
    assert source.current().consumer_times("g") == ConsumerTimes(45_000, 6_000)
