"""Statements that a connector would run with its own rights, refused: (rule, what is changed) by name."""

BEAT = "INSERT INTO public.debezium_heartbeat (name)"


def beat(statement: str) -> dict[str, str]:
    return {"heartbeat.action.query": statement}


def initial(statements: str) -> dict[str, str]:
    return {"database.initial.statements": statements}


def override(statement: str) -> dict[str, str]:
    key = "snapshot.select.statement.overrides"
    return {key: "public.articles", f"{key}.public.articles": statement}


STATEMENTS: dict[str, tuple[str, dict[str, str]]] = {
    "a slot that is dropped at each heartbeat": (
        "injection",
        beat(f"{BEAT} SELECT pg_drop_replication_slot('x')::text"),
    ),
    "passwords into the heartbeat": ("injection", beat(f"{BEAT} SELECT passwd FROM pg_shadow")),
    "a query as a value": ("injection", beat(f"{BEAT} VALUES ((SELECT passwd FROM pg_shadow))")),
    "a function as a value": ("injection", beat(f"{BEAT} VALUES (pg_switch_wal())")),
    "a table whose name is written in numbers": (
        "injection",
        beat("INSERT INTO U&\"heartbeat!0073\" UESCAPE '!' (a) VALUES (1)"),
    ),
    "rights at each heartbeat": ("injection", beat("UPDATE public.users SET is_admin = true")),
    "the same in a schema for beats": ("injection", beat("UPDATE heartbeat.users SET is_admin = true")),
    "the same in a table with a word like it": ("injection", beat("UPDATE shop.tickets SET price = 0")),
    "a name that another database ends elsewhere": (
        "injection",
        beat("UPDATE beat SET a = [b'c] , d = ['; DROP TABLE x; --]"),
    ),
    "a text with escapes": ("injection", beat(r"UPDATE beat SET a = E'\'; DROP TABLE x; --'")),
    "another role of the session": ("injection", initial("SET SESSION ROLE postgres")),
    "another login of the session": ("injection", initial("SET SESSION SESSION AUTHORIZATION postgres")),
    "half of each row in the binlog": ("injection", initial("SET @@global.binlog_row_image = MINIMAL")),
    "nothing in the binlog": ("injection", initial("SET sql_log_bin = 0")),
    "the same behind a harmless one": ("injection", initial("SET wait_timeout = 1, sql_log_bin = 0")),
    "other tables by their search path": ("injection", initial("SET search_path = evil, pg_catalog")),
    "no triggers": ("injection", initial("SET session_replication_role = replica")),
    "a slot that is dropped by a snapshot": (
        "injection",
        override("SELECT pg_drop_replication_slot('x') FROM public.articles"),
    ),
    "the same in quotes": ("injection", override('SELECT "pg_switch_wal"() FROM public.articles')),
    "the same in numbers": ("injection", override("SELECT U&\"!0070g_switch_wal\" UESCAPE '!' ()")),
    "any function": ("injection", override("SELECT setval('public.ids', 1) FROM public.articles")),
    "a function of somebody's schema": (
        "injection",
        override("SELECT evil.lower(title) FROM public.articles"),
    ),
    "a function whose name ends in another script": (
        "injection",
        override("SELECT evil\u2192(title) FROM public.articles"),
    ),
    "a function with a space in its name": (
        "injection",
        override("SELECT x\u00a0in (1) FROM public.articles"),
    ),
    "a function between names with quotes": (
        "injection",
        override('SELECT "a\'b", pg_switch_wal(), "c\'d" FROM public.articles'),
    ),
    "the same for MySQL": ("injection", override("SELECT `a'b`, sleep(9), `c'd` FROM articles")),
    "the same for SQL Server": ("injection", override("SELECT [a'b], evil(), [c'd] FROM articles")),
    "a name whose quote is not ended": (
        "injection",
        override("SELECT a\" FROM b UNION SELECT 'x', \"y FROM c"),
    ),
    "passwords by a snapshot": ("injection", override("SELECT passwd AS title FROM pg_shadow")),
    "a second statement without a semicolon": (
        "injection",
        override("SELECT * FROM articles UPDATE users SET is_admin = 1"),
    ),
    "a statement as the publication's name": (
        "injection",
        {"publication.name": "x'; DROP TABLE public.articles; --"},
    ),
    "a statement as the slot's name": ("injection", {"slot.name": "x'); DROP TABLE public.articles; --"}),
    "a statement as the signal table": (
        "injection",
        {"signal.data.collection": "public.a VALUES (1); DROP TABLE b; --"},
    ),
    "a statement as a replica identity": (
        "injection",
        {"replica.identity.autoset.values": "public.a:INDEX i; DROP TABLE b"},
    ),
    "a program in MongoDB's pipeline": (
        "injection",
        {"cursor.pipeline": '[{"$match": {"$expr": {"$function": {"body": "while (true) {}"}}}}]'},
    ),
    "the same in a filter, and escaped": (
        "injection",
        {"snapshot.collection.filter.overrides.shop.a": '{"\\u0024where": "sleep(1000)"}'},
    ),
}
