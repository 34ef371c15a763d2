"""`tailrace init`."""

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.cli.options import Json
from tailrace.cli.output import put_json, say

if TYPE_CHECKING:
    from ingest.adopt import Adoption


def init(
    folder: Annotated[Path, typer.Argument(help="Where to write.")] = Path(),
    app: Annotated[str, typer.Option(help="Prefix of topics, groups and collections.")] = "shop",
    from_topics: Annotated[
        str | None,
        typer.Option("--from-topics", metavar="BROKERS", help="Look at Debezium topics that exist there."),
    ] = None,
    prefix: Annotated[str | None, typer.Option(help="Of those, only this connector's topic.prefix.")] = None,
    as_json: Json = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Write a configuration to start from. Asks nothing.

    With --from-topics it names the tables that exist, and says what their topics lack.
    """
    from core.errors import ConfigurationError

    if from_topics is None and (prefix is not None or as_json):
        raise ConfigurationError("--prefix and --json go with --from-topics")
    _refuse_standing(folder, force=force)
    if from_topics is None:
        made = _template(app)
        after = "edit tailrace.yaml, then `tailrace topics apply`, `tailrace doctor`, `tailrace dev`"
    else:
        made = _adopted(app, from_topics, prefix, as_json=as_json)
        after = "read tailrace.yaml, correct what is guessed, then `tailrace topics plan`, `tailrace doctor`"
    folder.mkdir(parents=True, exist_ok=True)
    example = "# Secrets are read from the environment: ${env:LLM_API_KEY}\nLLM_API_KEY=\n"
    for path, content in zip(_files(folder), (made, example), strict=True):
        path.write_text(content, encoding="utf-8")
        say(f"wrote {path}")
    say(f"next: {after}")


def _files(folder: Path) -> tuple[Path, Path]:
    return folder / "tailrace.yaml", folder / ".env.example"


def _refuse_standing(folder: Path, *, force: bool) -> None:
    from core.errors import ConfigurationError

    standing = [str(path) for path in _files(folder) if path.exists()]
    if standing and not force:
        raise ConfigurationError(f"{', '.join(standing)} exist: move them away, or run with --force")


def _template(app: str) -> str:
    from importlib import resources

    text = resources.files("tailrace").joinpath("templates/tailrace.yaml").read_text(encoding="utf-8")
    # A random placeholder: nobody can type the one that stands for unchanged text.
    return text.replace("${app}", app).replace("${placeholder}", f"__unchanged_{secrets.token_hex(8)}__")


def _adopted(app: str, brokers: str, prefix: str | None, *, as_json: bool) -> str:
    import asyncio

    from core.errors import ConfigurationError
    from tailrace.adopt import adopt
    from tailrace.adoption_file import adoption_yaml

    addresses = [address.strip() for address in brokers.split(",") if address.strip()]
    adoption = asyncio.run(adopt(addresses, prefix))
    _tell(adoption)
    if as_json:
        put_json(_data(adoption))
    if not any(map(adoption.usable, adoption.tables)):
        why = "would not stop a worker: mend what is refused" if adoption.tables else "holds change events"
        raise ConfigurationError(f"{brokers}: no topic {why}")
    return adoption_yaml(app, addresses, adoption)


def _tell(adoption: "Adoption") -> None:
    say(f"{len(adoption.tables)} table(s) in topics of Debezium, {len(adoption.others)} other topic(s)")
    for table in adoption.tables:
        say(f"{table.topic}: {table.connector}, {table.table}, key {', '.join(table.key) or 'not seen'}")
        for finding in adoption.findings:
            if finding.topic == table.topic:
                say(f"  {finding.level}: {finding.what}; {finding.fix}")
    known = {table.topic for table in adoption.tables}
    for finding in adoption.findings:
        if finding.topic not in known:
            say(f"{finding.topic}: {finding.level}: {finding.what}; {finding.fix}")


def _data(adoption: "Adoption") -> dict[str, object]:
    return {
        "tables": [
            {
                "topic": table.topic,
                "prefix": table.prefix,
                "table": table.table,
                "connector": table.connector,
                "schemas": table.schemas,
                "key": list(table.key),
                "usable": adoption.usable(table),
            }
            for table in adoption.tables
        ],
        "findings": [
            {"topic": f.topic, "level": f.level, "what": f.what, "fix": f.fix} for f in adoption.findings
        ],
        "others": list(adoption.others),
    }
