"""Ways by which a configuration would run code, read files or carry secrets out of the Connect worker.

Pure. What reaches a JDBC driver is an allow-list, for drivers load classes and open files by their
options; the Kafka clients' dangerous settings are a list of their own.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from connectors.masking import holds_secret, is_reference, is_secret_key
from connectors.sql import wrong_heartbeat, wrong_initial_statements, wrong_select
from connectors.violation import Violation

_CLIENT_PREFIX = re.compile(
    r"(producer|consumer|admin)\.override\.|driver\.|signal\.(consumer|producer)\."
    r"|schema\.history\.internal\.(consumer|producer)\."
)
_CLIENT_DOORS = re.compile(
    r"bootstrap\.servers|sasl\.jaas\.config|sasl\.login\.class|sasl\..*callback\.handler\.class"
    r"|sasl\.oauthbearer\..*\.(url|file)|.*token\.endpoint\.url|security\.providers"
    r"|ssl\.engine\.factory\.class|config\.providers(\..*)?|interceptor\.classes|metric\.reporters"
    r"|(auto\.include\.)?jmx\.reporter|.*\.serializer|.*\.deserializer|partitioner\.class"
)
_OTHER_DOORS = re.compile(
    r"config\.providers(\..*)?|signal\.file|.*\.custom\.name|openlineage\..*|plugin\.path|offset\.storage.*"
    r"|schema\.history\.internal\.file\..*|database\.history\..*"
)
_HISTORY_LOGIN = re.compile(r"schema\.history\.internal\.(consumer|producer)\.sasl\.jaas\.config")
_LOGIN = re.compile(
    r"org\.apache\.kafka\.common\.security\.(scram\.Scram|plain\.Plain)LoginModule required"
    r' username="[^"]*" password="\$?\$\{[^}]+\}";'
)
"""The schema history has Kafka clients of its own, which need a login of their own on a secured cluster."""

_TO_DRIVER = re.compile(
    r"""database\.(hostname|port|user|password|dbname|names|instance|(include|exclude)\.list
        |server\.id(\.offset)?|initial\.statements|query\.timeout\.ms|protocol|connectionTimeZone
        |sslmode|sslcert|sslkey|sslpassword|sslrootcert|ssl\.mode|ssl\.(keystore|truststore)(\.password)?
        |encrypt|trustServerCertificate|tcpKeepAlive|application(Intent|Name)|allowPublicKeyRetrieval)
    |driver\.(connectTimeout|socketTimeout|loginTimeout|tcpKeepAlive|ApplicationName|applicationIntent)""",
    re.VERBOSE,
)
_IN_URL: Final = (
    "database.dbname",
    "database.names",
    "database.hostname",
    "database.port",
    "database.instance",
)
"""Debezium writes these into the JDBC URL as they are."""

_CHANNELS: Final = {
    "signal.enabled.channels": frozenset({"source", "kafka", "jmx"}),
    "notification.enabled.channels": frozenset({"sink", "log", "jmx"}),
}
_JNDI = re.compile(r"jndi:|(jndi|ldap)loginmodule", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
_ANY_REFERENCE = re.compile(r"\$\{([^}:]*):([^}]*)\}?")
_SYSTEM_PATH = re.compile(r"(^|:)/+(proc|sys|dev)(/|:|$)|(^|/)\.\.(/|:|$)")
_SHOWN = re.compile(
    r"name|topic\.(?!creation\.)\w.*|.*\.topic|slot\.name|publication\.name|heartbeat\.action\.query"
    r"|.*(include|exclude)\.list|transforms\..*|topic\.creation\..*|.*client\.id|custom\.metric\.tags"
    r"|signal\.data\.collection|.*statement.*|message\.key\.columns|.*\.hash\..*"
)
"""What ends in names of topics, in records, logs or metrics: no place for what a reference holds."""


def door_rules(config: Mapping[str, str]) -> Iterator[Violation]:
    """What nobody may waive, beside classes and hosts."""
    yield from _secrets(config)
    yield from _clients(config)
    yield from _drivers(config)
    yield from _texts(config)
    yield from _references(config)
    yield from _statements(config)


def _secrets(config: Mapping[str, str]) -> Iterator[Violation]:
    why = "Connect keeps its configuration in a topic and shows it over REST"
    want = "a reference: ${file:/path/secrets.properties:name}"
    for key, value in config.items():
        if _is_login(key, value):
            continue
        if (is_secret_key(key) and not is_reference(value)) or holds_secret(value):
            # The value itself is the secret: it is not in the message.
            yield Violation("inline-secret", key, "a literal", want, why)


def _clients(config: Mapping[str, str]) -> Iterator[Violation]:
    why = "it makes the Connect worker load a class, read a file or call an address of the file's choice"
    want = "nothing: leave it to the worker's own file"
    for key, value in config.items():
        if _is_login(key, value):
            continue
        bare = _CLIENT_PREFIX.sub("", key, count=1)
        # Of the connector itself, `bootstrap.servers` is nobody's; only a client has them to override.
        if _CLIENT_DOORS.fullmatch(bare) or _OTHER_DOORS.fullmatch(key):
            yield Violation("client-door", key, "a literal" if is_secret_key(key) else value, want, why)
    for key, known in _CHANNELS.items():
        for channel in filter(None, (name.strip() for name in config.get(key, "").split(","))):
            if channel not in known:
                yield Violation("client-door", key, channel, ", ".join(sorted(known)), why)


def _drivers(config: Mapping[str, str]) -> Iterator[Violation]:
    why = "it is handed to the JDBC driver, which loads classes and opens files by its options"
    for key in config:
        if key.startswith(("database.", "driver.")) and not _TO_DRIVER.fullmatch(key):
            yield Violation("client-door", key, "set", "nothing", why)
    for key in _IN_URL:
        value = config.get(key, "")
        if not is_reference(value) and re.search(r"[?&;/\\#%={}()\s]", value):
            why = "it becomes a part of the JDBC URL, and may carry options of the driver"
            yield Violation("injection", key, value, "the bare name", why)
    port = config.get("database.port")
    if port is not None and not is_reference(port) and not re.fullmatch(r"[0-9]{1,5}", port):
        yield Violation("injection", "database.port", port, "a number", "it becomes a part of the JDBC URL")


def _texts(config: Mapping[str, str]) -> Iterator[Violation]:
    for key, value in config.items():
        if _CONTROL.search(key) or _CONTROL.search(value):
            why = "a line break or control character forges lines of logs, headers and statements"
            yield Violation("injection", _CONTROL.sub("?", key), "a text with one", "one plain line", why)
        if _JNDI.search(value):
            why = "a look-up by JNDI loads classes from an address of the file's choice"
            yield Violation("injection", key, "a look-up", "nothing", why)


def _references(config: Mapping[str, str]) -> Iterator[Violation]:
    for key, value in config.items():
        for found in _ANY_REFERENCE.finditer(value):
            if _SYSTEM_PATH.search(found[2]):
                why = "the process's own files hold every secret of the worker"
                yield Violation("exfiltration", key, found[0], "a file of the secrets folder", why)
        if _SHOWN.fullmatch(key) and _ANY_REFERENCE.search(value):
            why = "what the reference holds would be shown in names, records or logs"
            yield Violation("exfiltration", key, value, "plain text, or {{ values.… }} of a profile", why)


def _statements(config: Mapping[str, str]) -> Iterator[Violation]:
    for key, value in config.items():
        wrong, want = None, ""
        if key == "heartbeat.action.query" and value:
            wrong, want = wrong_heartbeat(value), "one INSERT or UPDATE of the heartbeat table"
        elif key == "database.initial.statements":
            wrong, want = wrong_initial_statements(value), "SET statements only"
        elif key.startswith("snapshot.select.statement.overrides."):
            wrong, want = wrong_select(value), "one SELECT of that table"
        if wrong is not None:
            yield Violation("injection", key, value, want, wrong)


def _is_login(key: str, value: str) -> bool:
    return bool(_HISTORY_LOGIN.fullmatch(key) and _LOGIN.fullmatch(value))
