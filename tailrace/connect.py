"""`tailrace connect`: connectors' files, and the cluster that they describe."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connectors.diff import OWNER_KEY, Desired, Plan, is_of, owner_mark, plan
from connectors.file import SUFFIXES, files_below
from connectors.hints import Explanation, explain
from connectors.live import LiveConnector
from connectors.rest import ConnectClient
from connectors.spec import LoadedSpec, read_spec, read_specs
from core.addresses import shown_url
from core.errors import ConfigurationError
from core.settings import Settings
from tailrace.configuration import load
from tailrace.connector_names import connector_names

FOLDER: Final = "connectors"
"""Beside tailrace.yaml: where files are looked for that no source names."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where the verbs work: a cluster, an owner, and the files by default."""

    url: str
    timeout_seconds: float
    owner: str | None
    """The mark that `apply` leaves; without one nothing is ever pruned."""

    folder: Path
    settings: Settings | None

    def client(self, *, patience: float = 15.0) -> ConnectClient:
        connect = self.settings.connect if self.settings else None
        # No other address gets the password.
        login = connect.login() if connect is not None and self.url == connect.url else None
        return ConnectClient(self.url, login=login, timeout=self.timeout_seconds, patience=patience)

    @property
    def hosts(self) -> list[str] | None:
        """The only addresses that files may name; None without such a list."""
        connect = self.settings.connect if self.settings else None
        return None if connect is None else connect.hosts

    def files(self, given: Sequence[Path] | None) -> list[Path]:
        """Those given, else those that sources name, else the folder beside tailrace.yaml."""
        if given:
            return list(given)
        named = [
            Path(source.connector)
            for source in (self.settings.sources.values() if self.settings else ())
            if source.connector is not None and Path(source.connector).suffix in SUFFIXES
        ]
        if named:
            return list(dict.fromkeys(named))
        if (self.folder / FOLDER).is_dir():
            return [self.folder / FOLDER]
        raise ConfigurationError(
            f"no connector's file is named, and there is no folder {self.folder / FOLDER}: write one into it"
            " (docs/connectors.md begins with one), or `tailrace connect export` writes those of a cluster"
        )


def workplace(
    config: Path,
    url: str | None,
    owner: str | None = None,
    profile: str | None = None,
    *,
    offline: bool = False,
) -> Workplace:
    """From tailrace.yaml; with `url` it may be missing. Raises ConfigurationError.

    `offline`, for verbs that ask nobody: neither the file nor an address is needed.
    """
    if (url is not None or offline) and not config.exists():
        return Workplace(url or "", 10.0, owner_mark(owner, profile), config.parent, None)
    settings = load(config).settings
    if url is None and settings.connect is None and not offline:
        raise ConfigurationError(
            f"{config} has no connect.url: set it to Kafka Connect's REST address, or give --url"
        )
    timeout = settings.connect.timeout_seconds if settings.connect else 10.0
    address = url or (settings.connect.url if settings.connect else "")
    mark = owner_mark(owner or settings.app, profile)
    return Workplace(address, timeout, mark, config.parent, settings)


def refusals(place: Workplace, loaded: Sequence[LoadedSpec]) -> dict[str, list[str]]:
    """What the preset and connect.hosts refuse, by connector; nothing was asked of anybody."""
    found = {
        one.spec.name: [str(violation) for violation in one.spec.violations(hosts=place.hosts)]
        for one in loaded
    }
    return {name: lines for name, lines in found.items() if lines}


def wanted(
    place: Workplace, loaded: Sequence[LoadedSpec], environment: Mapping[str, str] = os.environ
) -> list[Desired]:
    """Files as they are sent. Raises ConfigurationError for what the preset refuses, all at once."""
    if found := refusals(place, loaded):
        said = "\n".join(f"connector {name}: {line}" for name, lines in found.items() for line in lines)
        raise ConfigurationError(
            f"refused before anything was sent:\n{said}\n"
            "Change the file, or name the rule under `accept:` with your reason."
        )
    made = []
    for one in loaded:
        resolved = one.spec.resolved(environment, hosts=place.hosts)
        secrets, origin = resolved.secrets, str(one.path)
        made.append(Desired(one.spec.name, resolved.config, one.spec.state, secrets, origin, resolved.filled))
    return made


def read_plan(
    place: Workplace,
    client: ConnectClient,
    desired: Sequence[Desired],
    *,
    prune: bool,
    kept: Collection[str] | None,
) -> Plan:
    """Files against the cluster as it is now. `kept`: as `standing` says."""
    live = client.connectors()
    classes = {one.config["connector.class"] for one in desired} | {
        live[one.name].config.get("connector.class", "") for one in desired if one.name in live
    }
    keys = {name: client.password_keys(name) for name in sorted(classes) if name}
    return plan(desired, live, owner=place.owner, prune=prune, kept=kept, password_keys=keys)


def named_files(place: Workplace, given: Sequence[Path] | None, profile: str | None) -> list[LoadedSpec]:
    return read_specs(place.files(given), profile=profile)


def standing(
    place: Workplace, given: Sequence[Path] | None, profile: str | None, *, prune: bool
) -> frozenset[str] | None:
    """Connectors of the folder's files and of those in folders inside it: none of them is an orphan.

    None where files are given: they are a part, and say nothing of what stands in the others. Raises
    ConfigurationError for `prune` of such a part, and for a folder whose files cannot all be read.
    """
    if given:
        if prune:
            raise ConfigurationError(
                "--prune deletes what no file names, and some files only were given: run it without files,"
                " over the whole folder"
            )
        return None
    try:
        # Not as those that are applied are read: a folder inside may hold another file of one name.
        return frozenset(read_spec(path, profile).name for path in files_below(place.folder / FOLDER))
    except ConfigurationError:
        if prune:
            raise
        return None


def ours(place: Workplace, live: Mapping[str, LiveConnector]) -> list[str]:
    """Connectors that bear our mark, of whichever profile, or that a source names."""
    named = set(connector_names(place.settings.sources if place.settings else {}).values())
    return [
        name
        for name, connector in live.items()
        if name in named or is_of(connector.config.get(OWNER_KEY), place.owner)
    ]


def explained(
    client: ConnectClient, name: str, config: Mapping[str, str], trace: str | None
) -> Explanation | None:
    """Why it failed, without the secrets of its configuration; None where nothing has."""
    if trace is None:
        return None
    keys = client.password_keys(config.get("connector.class", ""))
    return explain(trace, config, password_keys=keys, name=name)


def the_connector(client: ConnectClient, name: str) -> LiveConnector:
    """Raises ConfigurationError, naming those that there are."""
    live = client.connectors()
    require_all(client, live, [name])
    return live[name]


def require_all(client: ConnectClient, live: Mapping[str, LiveConnector], names: Iterable[str]) -> None:
    """Raises ConfigurationError if one of the names is none of the connectors that there are."""
    if missing := sorted(set(names) - set(live)):
        raise ConfigurationError(
            f"there is no connector {', '.join(missing)} on {client.shown}: it has"
            f" {', '.join(live) or 'none at all'}"
        )


def gone(place: Workplace, name: str, profile: str | None, *, clean: bool) -> LiveConnector:
    """A connector that is not there any more, as its file has it.

    ConfigurationError without `clean`, which alone has something left to do, and where no file names it.
    """
    said = f"there is no connector {name} on {shown_url(place.url)}"
    if not clean:
        raise ConfigurationError(f"{said}: if it left a slot or a publication, run it with --clean")
    folder = place.folder / FOLDER
    files = [] if not folder.is_dir() else [folder]
    with suppress(ConfigurationError):
        files = list(dict.fromkeys([*place.files(None), *files]))
    loaded = read_specs(files, profile=profile) if files else []
    found = next((one.spec for one in loaded if one.spec.name == name), None)
    if found is None:
        raise ConfigurationError(
            f"{said}, and no file names it: what it left is dropped by SQL, a slot of those that"
            " pg_replication_slots shows as not active by pg_drop_replication_slot('…'), a publication by"
            " DROP PUBLICATION"
        )
    return LiveConnector(name, found.full_config(), None)
