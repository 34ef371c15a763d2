"""Topics as they are against topics as they must be. Pure.

A topic with the wrong policy loses data quietly: a compacted raw topic refuses truncates and
keeps placeholders instead of text, a state topic with retention forgets rows. So the worker
starts only when every topic is right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from core.errors import ConfigurationError
from core.topics import TopicSpec

_ONLY_SIZE: Final = ("segment.ms",)
"""Policies without which a topic grows, and loses nothing: shorter is as good."""


@dataclass(frozen=True, slots=True)
class LiveTopic:
    """A topic as the broker describes it."""

    name: str
    topic_id: str
    partitions: int
    configs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TopicChange:
    """One thing that is not as it must be. `refused`: only a person can mend it."""

    topic: str
    action: Literal["create", "configure", "refused"]
    what: str
    spec: TopicSpec
    needed: bool = True
    """Whether data may be lost until it is done."""
    configs: Mapping[str, str] = field(default_factory=dict)
    """Of `configure`: what is set. What is as good as must be stays as it is."""


def plan_topics(wanted: Sequence[TopicSpec], live: Mapping[str, LiveTopic]) -> list[TopicChange]:
    """What `topics apply` would do, in order. Pure; empty when all is as it must be."""
    changes: list[TopicChange] = []
    for spec in wanted:
        found = live.get(spec.name)
        if found is None:
            policy = ", ".join(f"{k}={v}" for k, v in spec.configs().items())
            changes.append(
                TopicChange(spec.name, "create", f"{spec.partitions} partition(s), {policy}", spec)
            )
            continue
        if found.partitions != spec.partitions:
            changes.append(
                TopicChange(
                    spec.name,
                    "refused",
                    f"has {found.partitions} partitions, must have {spec.partitions} ({spec.why}):"
                    " partitions are never changed under data; make the topic again, or set the number"
                    " that it has",
                    spec,
                )
            )
        changes += [
            TopicChange(
                spec.name,
                "configure",
                f"{name}: {found.configs.get(name)} → {value}",
                spec,
                needed=name not in _ONLY_SIZE,
                configs={name: value},
            )
            for name, value in spec.configs().items()
            if not _good(name, found.configs.get(name), value)
        ]
    return changes


def _good(name: str, found: str | None, wanted: str) -> bool:
    if found is None:
        return False
    if name in ("retention.ms", "min.compaction.lag.ms"):  # longer is as good; -1: for ever
        return int(found) == -1 or int(found) >= int(wanted)
    if name in _ONLY_SIZE:
        return int(found) <= int(wanted)
    return found == wanted


def refuse_wrong_topics(changes: Sequence[TopicChange]) -> None:
    """Raises ConfigurationError that names each topic that may lose data."""
    if wrong := [change for change in changes if change.needed]:
        lines = "\n".join(f"  {change.topic}: {_said(change)}" for change in wrong)
        raise ConfigurationError(
            f"topics are not as they must be:\n{lines}\n"
            "run `tailrace topics plan`, then `tailrace topics apply`"
        )


def _said(change: TopicChange) -> str:
    return f"does not exist ({change.what})" if change.action == "create" else change.what
