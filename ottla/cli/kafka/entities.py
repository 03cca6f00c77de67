"""Which entities `kafka-configs` is asked about: Kafka's options and rules, and its words where one is broken."""

import argparse
from typing import NamedTuple

from ottla.cli.kafka.options import Parser

TOPICS, BROKERS, GROUPS, CLIENT_METRICS = "topics", "brokers", "groups", "client-metrics"
CLIENTS, USERS, IPS = "clients", "users", "ips"
KINDS = (TOPICS, CLIENTS, USERS, BROKERS, IPS, CLIENT_METRICS, GROUPS)
WITH_DEFAULT = (USERS, CLIENTS, BROKERS, IPS)
# In the order in which Kafka reads them: of two, the first gives the word in "Completed updating".
FLAGS = {
    "topic": TOPICS,
    "client": CLIENTS,
    "user": USERS,
    "broker": BROKERS,
    "ip": IPS,
    "client_metrics": CLIENT_METRICS,
    "group": GROUPS,
}
DEFAULT_FLAGS = {
    "client_defaults": CLIENTS,
    "user_defaults": USERS,
    "broker_defaults": BROKERS,
    "ip_defaults": IPS,
}


class Entities(NamedTuple):
    """The kinds and the names as they were given; "" is the default of a kind. Fewer names than kinds: all of them."""

    kinds: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The first."""
        return self.kinds[0]

    @property
    def name(self) -> str | None:
        """The first, None for all."""
        return self.names[0] if self.names else None

    @property
    def completed(self) -> str:
        """What Kafka says when it has changed them."""
        if self.name:
            return f"Completed updating config for {self.kind[:-1]} {self.name}."
        return f"Completed updating default config for {self.kind} in the cluster."


def add_options(made: argparse.ArgumentParser) -> None:
    """Both ways of naming entities; the order of --entity-name and --entity-default counts."""
    made.add_argument(
        "--entity-type",
        action="append",
        default=[],
        metavar="TYPE",
        help=f"{', '.join(KINDS)}; users and clients may stand together.",
    )
    made.add_argument("--entity-name", dest="names", action="append", default=[])
    made.add_argument("--entity-default", dest="names", action="append_const", const="")
    for flag in FLAGS:
        made.add_argument(_option(flag), action="append")
    for flag in DEFAULT_FLAGS:
        made.add_argument(_option(flag), action="store_true")


def entities(made: Parser, asked: argparse.Namespace) -> Entities:
    """The entities that were named. Ends with usage help when they go against Kafka's rules."""
    given = vars(asked)
    flags = [flag for flag in FLAGS if given[flag] is not None]
    defaults = [flag for flag in DEFAULT_FLAGS if given[flag]]
    for flag in flags:
        if len(given[flag]) > 1:
            made.error(f"Found multiple arguments for option {_option(flag)[2:]}")
    kinds = (
        *asked.entity_type,
        *(FLAGS[flag] for flag in flags),
        *(DEFAULT_FLAGS[flag] for flag in defaults),
    )
    _check_kinds(made, kinds)
    if (asked.entity_type or asked.names) and (flags or defaults):
        made.error(
            "--entity-{type,name,default} should not be used in conjunction with specific entity flags"
        )
    names = (*asked.names, *(given[flag][0] for flag in flags), *("" for _ in defaults))
    found = Entities(kinds, names)
    _check_names(made, found, alter=asked.alter)
    return found


def _check_kinds(made: Parser, kinds: tuple[str, ...]) -> None:
    twice = sorted({each for each in kinds if kinds.count(each) > 1})
    if twice:
        made.error(f"Duplicate entity type(s) specified: {','.join(twice)}")
    for each in kinds:
        if each not in KINDS:
            made.error(
                f"Invalid entity type {each}, the entity type must be one of {', '.join(KINDS)}"
            )
    if not kinds:
        made.error("At least one entity type must be specified")
    if len(kinds) > 1 and set(kinds) != {USERS, CLIENTS}:
        made.error(f"Only '{USERS}' and '{CLIENTS}' entity types may be specified together")


def _check_names(made: Parser, found: Entities, *, alter: bool) -> None:
    with_default = found.kind in WITH_DEFAULT
    if not with_default and alter and not any(found.names):
        made.error(f"An entity name must be specified with --alter of {found.kind}")
    if not with_default and "" in found.names:
        made.error(f"--entity-default must not be specified with --describe of {found.kind}")
    if alter and not found.names:
        made.error(
            "An entity-name or default entity must be specified with --alter of users, clients, brokers or ips"
        )
    if len(found.names) > len(found.kinds):
        made.error("More entity names specified than entity types")
    if alter and len(found.names) < len(found.kinds):
        made.error("An entity name must be specified for every entity type")


def _option(flag: str) -> str:
    return "--" + flag.replace("_", "-")
