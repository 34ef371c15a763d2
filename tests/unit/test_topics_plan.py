"""Topics as they must be, and the plan that gets there."""

from types import SimpleNamespace
from typing import Any

import pytest

from core.errors import ConfigurationError
from core.settings import Settings
from core.topics import TopicSpec, required_topics
from ingest.topic_plan import LiveTopic, plan_topics, refuse_wrong_topics
from ingest.topics_admin import TopicsAdmin

SETTINGS = Settings.model_validate(
    {"app": "shop", "sources": {"db": {"prefix": "pre", "tables": ["public.a", "public.b"]}}}
)


def _live(spec: TopicSpec) -> LiveTopic:
    return LiveTopic(spec.name, "id", spec.partitions, spec.configs())


def test_every_topic_is_named_once_with_its_policy() -> None:
    wanted = {spec.name: spec for spec in required_topics(SETTINGS)}
    assert list(wanted) == [
        "pre.public.a",
        "pre.public.b",
        "shop.state.db.public.a",
        "shop.state.db.public.b",
        "shop.sources",
        "shop.generations",
        "shop.dead-letters",
    ]
    assert wanted["pre.public.a"].cleanup == "delete"
    assert wanted["pre.public.a"].partitions == 1
    assert wanted["shop.state.db.public.a"].configs()["min.compaction.lag.ms"] == "3600000"


def test_nothing_to_do_when_all_is_right() -> None:
    wanted = required_topics(SETTINGS)
    live = {spec.name: _live(spec) for spec in wanted}
    assert plan_topics(wanted, live) == []
    refuse_wrong_topics([])


def test_a_missing_topic_is_created_and_a_wrong_policy_set() -> None:
    wanted = required_topics(SETTINGS)
    live = {spec.name: _live(spec) for spec in wanted[1:]}
    raw = wanted[1]
    live[raw.name] = LiveTopic(raw.name, "id", 1, {"cleanup.policy": "compact", "retention.ms": "60000"})
    changes = plan_topics(wanted, live)
    assert [(c.topic, c.action) for c in changes] == [
        ("pre.public.a", "create"),
        ("pre.public.b", "configure"),
        ("pre.public.b", "configure"),
    ]
    with pytest.raises(ConfigurationError, match=r"(?s)pre.public.b: cleanup.policy: compact .*topics apply"):
        refuse_wrong_topics(changes)


@pytest.mark.parametrize("retention", ["-1", "604800000", "999999999999"])
def test_longer_retention_is_as_good(retention: str) -> None:
    raw = required_topics(SETTINGS)[0]
    live = LiveTopic(raw.name, "id", 1, {"cleanup.policy": "delete", "retention.ms": retention})
    assert plan_topics([raw], {raw.name: live}) == []


def test_only_what_is_wrong_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A longer retention was somebody's wish: shortened, what it kept would be deleted."""
    raw = required_topics(SETTINGS)[0]
    live = LiveTopic(raw.name, "id", 1, {"cleanup.policy": "compact", "retention.ms": "-1"})
    asked: list[Any] = []

    def alter(resources: list[Any]) -> dict[Any, Any]:
        asked.extend(resources)
        return {}

    admin = TopicsAdmin(["127.0.0.1:1"])
    monkeypatch.setattr(admin, "_admin", SimpleNamespace(incremental_alter_configs=alter))
    admin.apply(plan_topics([raw], {raw.name: live}))
    [resource] = asked
    assert [(one.name, one.value) for one in resource.incremental_configs] == [("cleanup.policy", "delete")]


def test_partitions_are_never_changed() -> None:
    raw = required_topics(SETTINGS)[0]
    change = plan_topics([raw], {raw.name: LiveTopic(raw.name, "id", 4, raw.configs())})[0]
    assert change.action == "refused"
    assert "has 4 partitions, must have 1" in change.what


@pytest.mark.parametrize(("segment", "changed"), [("604800000", True), ("3600000", False), (None, True)])
def test_a_topic_that_only_grows_too_large_stops_no_start(segment: str | None, changed: bool) -> None:
    """It was made by a release that did not ask for it."""
    spec = next(one for one in required_topics(SETTINGS) if one.name == "shop.generations")
    configs = {"cleanup.policy": "compact"} | ({} if segment is None else {"segment.ms": segment})
    changes = plan_topics([spec], {spec.name: LiveTopic(spec.name, "id", 1, configs)})
    assert [(one.action, one.needed) for one in changes] == ([("configure", False)] if changed else [])
    refuse_wrong_topics(changes)
