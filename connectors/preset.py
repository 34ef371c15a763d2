"""The judgement of a connector's configuration: what loses changes, garbles them, or opens a door.

Pure. The rules of a database lie in `connectors/presets`, those of every connector beside it
(`common`), those that protect the worker, its secrets and its network in `classes`, `doors` and `hosts`.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final

from connectors.classes import class_rule
from connectors.doors import door_rules
from connectors.hosts import host_rules
from connectors.presets import common, mariadb, mongodb, postgres, sqlserver
from connectors.presets.common import DAY_MS, DEFAULT_PLACEHOLDER, common_rules, derived_name
from connectors.presets.mariadb import MARIADB_CLASS, MYSQL_CLASS
from connectors.presets.mongodb import MONGODB_CLASS
from connectors.presets.postgres import POSTGRES_CLASS, heartbeat_query, postgres_config
from connectors.presets.sqlserver import SQLSERVER_CLASS
from connectors.presets.topics import topic_rule
from connectors.presets.transforms import transform_rule
from connectors.violation import Violation

__all__ = [
    "DAY_MS",
    "DEFAULT_PLACEHOLDER",
    "MARIADB_CLASS",
    "MONGODB_CLASS",
    "MYSQL_CLASS",
    "NEVER_ACCEPTED",
    "POSTGRES_CLASS",
    "RULES",
    "SQLSERVER_CLASS",
    "derived_name",
    "heartbeat_query",
    "intrusions",
    "postgres_config",
    "violations",
]

NEVER_ACCEPTED: Final = frozenset(
    {"class", "inline-secret", "client-door", "host", "injection", "exfiltration"}
)
"""Rules that protect the Connect worker itself, the secrets on it, and the network around it."""

RULES: Final = NEVER_ACCEPTED.union(
    common.RULES, postgres.RULES, mariadb.RULES, mongodb.RULES, sqlserver.RULES
)
"""The names of all rules."""

_OF_DATABASE: Final[Mapping[str, Callable[[Mapping[str, str]], list[Violation]]]] = {
    POSTGRES_CLASS: postgres.rules,
    MARIADB_CLASS: mariadb.rules,
    MYSQL_CLASS: mariadb.rules,
    MONGODB_CLASS: mongodb.rules,
    SQLSERVER_CLASS: sqlserver.rules,
}


def violations(
    config: Mapping[str, str], accept: Collection[str] = (), *, hosts: Collection[str] | None = None
) -> list[Violation]:
    """What in this configuration loses changes, makes them unreadable, or opens a door.

    `accept` names rules that were waived, each with its reason in the connector's file; the rules
    of `NEVER_ACCEPTED` stay. `hosts`, where given, are the only addresses that a connector may name
    (`db.example`, `*.internal.example`). An empty list: deploy it.
    """
    of_database = _OF_DATABASE.get(config.get("connector.class", ""))
    found: list[Violation] = []
    for more in (
        intrusions(config, hosts=hosts),
        of_database(config) if of_database else [],
        [*common_rules(config), *topic_rule(config), *transform_rule(config)],
    ):
        # A database's own reason is the better one where both know the key.
        known = {(violation.rule, violation.key) for violation in found}
        found += [violation for violation in more if (violation.rule, violation.key) not in known]
    waived = set(accept) - NEVER_ACCEPTED
    return [violation.without_secrets(config) for violation in found if violation.rule not in waived]


def intrusions(config: Mapping[str, str], *, hosts: Collection[str] | None = None) -> list[Violation]:
    """Only what nobody may waive."""
    return [*class_rule(config), *door_rules(config), *host_rules(config, hosts)]
