"""The rule `topics`: how the topics that Connect makes keep what is written into them. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final

from connectors.heartbeat import beat_of
from connectors.listed import listed_names, literal
from connectors.presets.common import DAY_MS, RETENTION_DAYS, number
from connectors.violation import Violation

_DEFAULT: Final = "topic.creation.default."
_BEATS: Final = "__debezium-heartbeat"
_BEAT_TABLE: Final = ".debezium_heartbeat"
"""As templates name it, whichever statement or prefix is written over theirs."""


def topic_rule(config: Mapping[str, str]) -> Iterator[Violation]:
    """What each group of topics says.

    A group takes its partitions from the default; what else it does not say is the broker's own.
    """
    named = {*listed_names(config.get("topic.creation.groups", ""))} - {"default"}
    for group in ("default", *sorted(named)):
        own = f"topic.creation.{group}."
        policy, partitions = f"{own}cleanup.policy", f"{own}partitions"
        if config.get(policy) != "delete":
            why = "a compacted topic refuses a TRUNCATE (it has no key), and keeps placeholders, not text"
            yield Violation("topics", policy, config.get(policy), "delete", why)
        if config.get(partitions, config.get(f"{_DEFAULT}partitions")) != "1":
            why = "a truncate and a changed key are ordered within one partition only"
            yield Violation("topics", partitions, config.get(partitions), "1", why)
        if not _of_beats(config, own):
            yield from _retention(config, own)


def _retention(config: Mapping[str, str], own: str) -> Iterator[Violation]:
    why = "a worker away for longer would lose changes"
    time, size = f"{own}retention.ms", f"{own}retention.bytes"
    if number(config.get(time)) < RETENTION_DAYS * DAY_MS and config.get(time) != "-1":
        yield Violation("topics", time, config.get(time), f"{RETENTION_DAYS * DAY_MS} or more", why)
    if config.get(size, "-1") != "-1":
        why = "many changes at once would push out what a worker has not read yet"
        yield Violation("topics", size, config[size], "nothing, or -1", why)


def _of_beats(config: Mapping[str, str], own: str) -> bool:
    """Whether only heartbeats go into this group's topics: one is worth nothing after the next."""
    prefix = config.get("topic.prefix", "")
    beats = {f"{config.get('topic.heartbeat.prefix', _BEATS)}.{prefix}"}
    if beat := beat_of(config.get("heartbeat.action.query", ""), folded=False):
        beats.add(f"{prefix}.{beat.table}")
    named = [literal(entry) for entry in listed_names(config.get(f"{own}include", ""))]
    return bool(named) and all(
        name is not None and (name in beats or name.startswith(f"{_BEATS}.") or name.endswith(_BEAT_TABLE))
        for name in named
    )
