"""What of a configuration reaches a JDBC driver: an allow-list, key by key and sign by sign.

Pure. Drivers load classes and open files by their options, and Debezium writes some of the values into
the JDBC URL as they are.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from connectors.presets.mariadb import MARIADB_CLASS, MYSQL_CLASS
from connectors.references import harmless
from connectors.violation import Violation

_ANY: Final = r".*"
_WORD: Final = r"[A-Za-z0-9_-]*"
_NUMBER: Final = r"[0-9]{1,18}"
_FILE: Final = r"(?!//)[\w./ -]*"
"""`file:` is put before it: with two slashes at its beginning it would be another host's."""

_VALUES: Final = tuple(
    (re.compile(key), re.compile(value))
    for key, value in (
        (r"database\.(user|password|sslpassword|ssl\.(keystore|truststore)\.password)", _ANY),
        (r"database\.((include|exclude)\.list|initial\.statements)", _ANY),
        (r"database\.hostname", r"[A-Za-z0-9_.,:\[\]-]*"),
        (r"database\.port", r"[0-9]{1,5}"),
        (r"database\.(dbname|names|instance)", r"[\w.,$@+~ -]*"),
        (r"database\.(server\.id(\.offset)?|query\.timeout\.ms)", rf"-?{_NUMBER}"),
        (r"database\.connectionTimeZone", r"[A-Za-z0-9_/+:-]*"),
        (r"database\.(sslcert|sslkey|sslrootcert|ssl\.(keystore|truststore))", _FILE),
        (r"database\.(sslmode|ssl\.mode|allowPublicKeyRetrieval)", _WORD),
        (r"(database|driver)\.(tcpKeepAlive|encrypt|trustServerCertificate)", _WORD),
        (r"database\.application(Intent|Name)", r"[\w .:-]*"),
        (r"driver\.(ApplicationName|applicationIntent)", r"[\w .:-]*"),
        (r"driver\.(connectTimeout|socketTimeout|loginTimeout)", _NUMBER),
    )
)
"""The keys that may be set, and of what signs their values are."""

_PROTOCOLS: Final[Mapping[str, str]] = {MARIADB_CLASS: "jdbc:mariadb", MYSQL_CLASS: "jdbc:mysql"}
"""`database.protocol` begins the URL: anything but the default is another URL."""


def driver_rules(config: Mapping[str, str], bare: Mapping[str, str]) -> Iterator[Violation]:
    """Keys and values that no driver is given. `bare`: by key, the key as who reads it sees it."""
    why = "it is handed to the JDBC driver, which loads classes and opens files by its options"
    for key, value in config.items():
        name = bare[key]
        if not name.startswith(("database.", "driver.")):
            continue
        if name == "database.protocol":
            known = _PROTOCOLS.get(config.get("connector.class", ""))
            if value != known:
                yield Violation(
                    "client-door", key, "another one", known or "nothing", "it begins the JDBC URL"
                )
            continue
        allowed = next((signs for pattern, signs in _VALUES if pattern.fullmatch(name)), None)
        if allowed is None:
            yield Violation("client-door", key, "set", "nothing", why)
        elif not (allowed.fullmatch(value) or harmless(value)):
            why = "it becomes a part of the JDBC URL, and may carry options of the driver"
            yield Violation("injection", key, "no plain text", "the bare name or number", why)
