"""Ways by which a configuration would run code, read files or carry secrets out of the Connect worker.

Pure. The Kafka clients' dangerous settings are a list; what reaches a JDBC driver is judged in
`drivers`, what a reference may read and where it may stand in `references`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from connectors.drivers import driver_rules
from connectors.heartbeat_form import wrong_heartbeat
from connectors.masking import holds_secret, is_reference, is_secret_key
from connectors.references import harmless, named, reference_rules
from connectors.sql import wrong_document, wrong_initial_statements, wrong_name, wrong_select
from connectors.violation import Violation

_CLIENT_PREFIX = re.compile(
    r"(producer|consumer|admin)\.override\.|driver\.|signal\.(consumer|producer)\."
    r"|schema\.history\.internal\.(consumer|producer)\."
)
_CLIENT_DOORS = re.compile(
    r"bootstrap\.servers|sasl\.kerberos\.kinit\.cmd|sasl\.jaas\.config|sasl\.login\.class|sasl\..*callback\.handler\.class"
    r"|sasl\.oauthbearer\..*\.(url|file)|.*token\.endpoint\.url|security\.providers"
    r"|ssl\.engine\.factory\.class|config\.providers(\..*)?|interceptor\.classes|metric\.reporters"
    r"|(auto\.include\.)?jmx\.reporter|.*\.serializer|.*\.deserializer|partitioner\.class|partition\.assignment\.strategy"
)
_OTHER_DOORS = re.compile(
    r"config\.providers(\..*)?|signal\.file|.*\.custom\.name|openlineage\..*|plugin\.path|offsets?\.storage.*"
    r"|schema\.history\.internal\.file\..*|database\.history\..*|mongodb\.connection\.string\.shard\.params"
)
_HISTORY_LOGIN = re.compile(r"schema\.history\.internal\.(consumer|producer)\.sasl\.jaas\.config")
_LOGIN = re.compile(
    r"org\.apache\.kafka\.common\.security\.(scram\.Scram|plain\.Plain)LoginModule required"
    r' username="[^"\\]*" password="([^"\\]*)";'
)
"""The schema history has Kafka clients of its own, which need a login of their own on a secured cluster."""

_CHANNELS: Final = {
    "signal.enabled.channels": frozenset({"source", "kafka", "jmx"}),
    "notification.enabled.channels": frozenset({"sink", "log", "jmx"}),
}
_STREAM = re.compile(r"messages=(true|false)|origin=(none|any)")
_JNDI = re.compile(r"jndi:|(jndi|ldap)loginmodule", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")
"""Also what turns the direction of writing: such a text is not what it looks like."""


def door_rules(config: Mapping[str, str]) -> Iterator[Violation]:
    """What nobody may waive, beside classes and hosts."""
    bare = {key: _bare(config, key) for key in config}
    yield from _secrets(config, bare)
    yield from _clients(config, bare)
    yield from driver_rules(config, bare)
    yield from _texts(config)
    yield from reference_rules(config)
    yield from _statements(config, bare)
    yield from _stream(config)


def _bare(config: Mapping[str, str], key: str) -> str:
    """The key as its reader sees it: a transform may open a connection of its own, by the same keys."""
    for kind in ("transforms", "predicates"):
        if key.startswith(f"{kind}."):
            # An alias may hold a dot; one that no list names is read by nobody.
            owner = next((one for one in named(config, kind) if key.startswith(f"{kind}.{one}.")), None)
            return key.removeprefix(f"{kind}.{owner}.") if owner else key.split(".", 2)[-1]
    return key


def _secrets(config: Mapping[str, str], bare: Mapping[str, str]) -> Iterator[Violation]:
    why = "Connect keeps its configuration in a topic and shows it over REST"
    want = "a reference: ${file:/path/secrets.properties:name}"
    for key, value in config.items():
        if (login := login_password(key, value)) is not None and harmless(login):
            continue
        if (is_secret_key(bare[key]) and not is_reference(value)) or holds_secret(value):
            # The value itself is the secret: it is not in the message.
            yield Violation("inline-secret", key, "a literal", want, why)


def _clients(config: Mapping[str, str], bare: Mapping[str, str]) -> Iterator[Violation]:
    why = "it makes the Connect worker load a class, read a file or call an address of the file's choice"
    want = "nothing: leave it to the worker's own file"
    for key, value in config.items():
        if login_password(key, value) is not None:
            continue
        client = _CLIENT_PREFIX.sub("", bare[key], count=1)
        # Of the connector itself, `bootstrap.servers` is nobody's; only a client has them to override.
        if _CLIENT_DOORS.fullmatch(client) or _OTHER_DOORS.fullmatch(bare[key]):
            yield Violation("client-door", key, "set", want, why)
    for key, known in _CHANNELS.items():
        for channel in filter(None, (name.strip() for name in config.get(key, "").split(","))):
            if channel not in known:
                yield Violation("client-door", key, "another channel", ", ".join(sorted(known)), why)


def _texts(config: Mapping[str, str]) -> Iterator[Violation]:
    for key, value in config.items():
        if _CONTROL.search(key) or _CONTROL.search(value):
            why = "a line break or control character forges lines of logs, headers and statements"
            yield Violation("injection", _CONTROL.sub("?", key), "a text with one", "one plain line", why)
        if _JNDI.search(value):
            why = "a look-up by JNDI loads classes from an address of the file's choice"
            yield Violation("injection", key, "a look-up", "nothing", why)


def _statements(config: Mapping[str, str], bare: Mapping[str, str]) -> Iterator[Violation]:
    for key, value in config.items():
        wrong, want = _wrong_statement(bare[key], value)
        if wrong is not None:
            # A statement may hold a secret at any place: it is not in the message.
            yield Violation("injection", key, "of another form", want, wrong)


def _wrong_statement(key: str, value: str) -> tuple[str | None, str]:
    """(why, what to write); (None, …) for what is harmless, or no statement."""
    if key == "heartbeat.action.query" and value:
        return wrong_heartbeat(value), "one INSERT or UPDATE of the heartbeat table (docs/connector-files.md)"
    if key == "database.initial.statements":
        return wrong_initial_statements(value), "SET of such settings only (docs/connector-files.md)"
    if key.startswith("snapshot.select.statement.overrides."):
        return wrong_select(value), "one SELECT of that table"
    if key.startswith(("cursor.pipeline", "snapshot.collection.filter.overrides.")):
        return wrong_document(value), "stages and filters of the documents alone"
    return wrong_name(key, value), "the bare name"


def _stream(config: Mapping[str, str]) -> Iterator[Violation]:
    key = "slot.stream.params"
    for entry in filter(None, (entry.strip() for entry in config.get(key, "").split(";"))):
        if not _STREAM.fullmatch(entry):
            why = "it takes the place of what the connector asks the slot for: its publication, its protocol"
            yield Violation("client-door", key, "another option", "nothing, messages=… or origin=…", why)


def login_password(key: str, value: str) -> str | None:
    """The password of the schema history's login; None for anything else."""
    found = _LOGIN.fullmatch(value) if _HISTORY_LOGIN.fullmatch(key) else None
    return None if found is None else found[2]
