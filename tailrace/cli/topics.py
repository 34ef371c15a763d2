"""`tailrace topics plan | apply`."""

from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.cli.options import DEFAULT_CONFIG, Config, Json
from tailrace.cli.output import put, put_json, say

if TYPE_CHECKING:
    from core.settings import Settings
    from ingest.topic_plan import TopicChange
    from ingest.topics_admin import TopicsAdmin

DIFFERS = 3

app = typer.Typer(no_args_is_help=True, help="Topics as they must be: plan and apply.", rich_markup_mode=None)


@app.command("plan")
def plan(
    config: Config = DEFAULT_CONFIG,
    as_json: Json = False,
    check: Annotated[bool, typer.Option("--check", help="Exit 3 if anything differs.")] = False,
) -> None:
    """Say what `apply` would do."""
    _, changes = _changes(config)
    _show(changes, as_json=as_json)
    if check and changes:
        raise typer.Exit(DIFFERS)


@app.command("apply")
def apply(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Create missing topics and set wrong policies. Never deletes, never changes partitions."""
    admin, changes = _changes(config)
    admin.apply(changes)
    _show(changes, as_json=as_json)
    say(f"{len(changes)} change(s) applied" if changes else "nothing to do")


def _changes(config: Config) -> "tuple[TopicsAdmin, list[TopicChange]]":
    from core.topics import required_topics
    from ingest.topic_plan import plan_topics
    from tailrace.configuration import load

    settings = load(config).settings
    admin = _admin(settings)
    return admin, plan_topics(required_topics(settings), admin.live())


def _admin(settings: "Settings") -> "TopicsAdmin":
    from core.errors import ConfigurationError
    from core.settings import KafkaLog
    from ingest.topics_admin import TopicsAdmin

    if not isinstance(settings.log, KafkaLog):
        raise ConfigurationError(
            "log.kind is embedded: its topics are made at each start; there is nothing to plan"
        )
    return TopicsAdmin(settings.log.brokers).replicated(settings.log.replication)


def _show(changes: "list[TopicChange]", *, as_json: bool) -> None:
    if as_json:
        put_json([{"topic": c.topic, "action": c.action, "what": c.what} for c in changes])
        return
    signs = {"create": "+", "configure": "~", "refused": "!"}
    for change in changes:
        put(f"{signs[change.action]} {change.topic}: {change.what}")
    if not changes:
        put("all topics are as they must be")
