"""From what Connect shows of a failure to one line and a way out."""

import pytest

from connectors.hints import cause, explain, hint, unfinished_hint
from tests.unit.connect_world import CANARY, TRACE

UNPUBLISHED = (
    "org.apache.kafka.connect.errors.ConnectException: Publication autocreation is disabled, please create"
    " one and restart the connector.\n\tat io.debezium.x(Y.java:242)"
)
GONE = (
    "io.debezium.DebeziumException: The connector is trying to read change stream starting at"
    " PostgresOffsetContext [a=B{c:D}, e=f[g='p2'], h=[x]], but this is no longer available on the server."
    " Reconfigure the connector to use a snapshot mode when needed.\n\tat io.debezium.x(Y.java:164)"
)
LOST = [
    'ERROR: can no longer get changes from replication slot "s"',
    'ERROR: cannot read from logical replication slot "s"\n  Detail: This slot has been invalidated.',
    'ERROR: can no longer access replication slot "s"\n  Detail: due to "wal_removed".',
    'ERROR: replication slot "s" cannot be advanced',
    "requested WAL segment 00000001000000000000000A has already been removed",
    "Unable to obtain valid replication slot. Make sure there are no long-running transactions",
]
REAL = [
    (UNPUBLISHED, "publication is missing"),
    (GONE, "slot was dropped"),
    *((text, "pg_drop_replication_slot") for text in LOST),
    ('FATAL: password authentication failed for user "debezium"', "user or password is wrong"),
    ("Access denied for user 'dbz'@'127.0.0.1' (using password: YES)", "user or password is wrong"),
    ('ERROR: replication slot "p2" is active for PID 4711', "reads the slot"),
    ("FATAL: all replication slots are in use", "max_replication_slots"),
    ("must be superuser or replication role to use replication slots", "replication rights"),
    ('ERROR: publication "x" does not exist', "publication is missing"),
    ("logical decoding requires wal_level >= logical", "set wal_level"),
    (
        "error code 1236: Could not find first log file name in binary log index file",
        "purged the binlog",
    ),
    (GONE.replace("Postgres", "MariaDb"), "purged the binlog"),
    ("Compacted topic cannot accept message without key in topic partition a-0", "cleanup.policy to delete"),
    ('ERROR: relation "public.nosuch" does not exist', "table that the configuration names"),
    ("ERROR: permission denied for table articles", "GRANT SELECT"),
    ('FATAL: database "shop2" does not exist', "database.dbname"),
    ("The server does not support SSL.", "TLS"),
    ("PKIX path building failed", "TLS"),
    ("java.net.UnknownHostException: db.example", "resolve or reach"),
    ("Connection to 127.0.0.2:25432 refused. Check that the hostname", "nothing listens"),
    ("Request timed out", "did not answer in time"),
    ("Failed to find any class that implements Connector", "plugin is not installed"),
    ("The 'Allowlist' policy does not allow 'sasl.jaas.config' to be overridden", "override"),
    ("org.apache.kafka.common.errors.RecordTooLargeException: The message is 9", "max.request.size"),
    ("The db history topic is missing.", "schema history"),
    ("need (at least one of) the REPLICATION SLAVE privilege", "replication rights"),
]


@pytest.mark.parametrize(("text", "said"), REAL)
def test_a_known_cause_has_a_hint(text: str, said: str) -> None:
    found = explain(text, name="shop")
    assert found.hint is not None
    assert said in found.hint
    assert "NAME" not in found.hint
    assert "\n" not in found.cause


def test_the_innermost_cause_decides() -> None:
    wrapped = (
        "org.apache.kafka.connect.errors.ConnectException: Request timed out\n"
        '\tat a\nCaused by: x.Y: ERROR: publication "p" does not exist\n\tat b'
    )
    assert "publication" in (hint(wrapped) or "")


def test_an_unknown_cause_has_no_hint() -> None:
    assert explain("java.lang.NullPointerException\n\tat timeout.Certificate(X.java)").hint is None


def test_the_cause_is_one_short_line_without_secrets() -> None:
    said = cause(TRACE)
    assert "\n" not in said
    assert said.startswith(
        "org.apache.kafka.connect.errors.ConnectException: Error configuring an instance (Caused"
    )
    assert CANARY not in said
    assert cause("") == "(no trace)"
    assert len(cause("x" * 9000)) < 500
    assert "PostgresOffsetContext […], but this is no longer" in cause(GONE)


def test_secrets_of_the_configuration_are_masked_wherever_they_stand() -> None:
    config = {"odd.key": f"{CANARY}-a", "database.password": f"{CANARY}-b"}
    text = f"x {CANARY}-a y {CANARY}-b z {CANARY}-c"
    found = explain(text, config, password_keys={"odd.key"}, secrets={f"{CANARY}-c"})
    assert CANARY not in str(found)


@pytest.mark.parametrize(
    ("config", "slot"),
    [
        ({"slot.name": "tailrace_shop"}, "tailrace_shop"),
        ({}, "debezium"),
        (None, "…"),
        ({"slot.name": f"{CANARY}"}, "…"),
        ({"slot.name": "secret_of_env"}, "…"),
    ],
    ids=["named", "by default", "unknown", "no slot's name", "filled in"],
)
def test_a_lost_slot_is_to_be_dropped_first_by_its_name(config: dict[str, str] | None, slot: str) -> None:
    found = explain(LOST[0], config, secrets={"secret_of_env"}, name="shop")
    steps = [
        "offsets reset shop --stop",
        f"SELECT pg_drop_replication_slot('{slot}')",
        "connect resume shop",
        "tailrace resync TOPIC",
    ]
    places = [(found.hint or "").find(step) for step in steps]
    assert -1 not in places
    assert places == sorted(places)


def test_a_connectors_name_is_told_as_it_is() -> None:
    told = explain(LOST[0], {"slot.name": "s"}, name="NAME-OF-SLOT").hint
    assert told is not None
    assert "offsets reset NAME-OF-SLOT --stop" in told


def test_a_slot_that_is_gone_is_not_to_be_dropped() -> None:
    assert "pg_drop" not in (explain(GONE, {"slot.name": "s"}).hint or "")


def test_one_that_never_begins_is_to_be_looked_at_from_the_databases_side() -> None:
    assert "tailrace doctor" in (unfinished_hint("starting") or "")
    assert unfinished_hint("no answer") is None
