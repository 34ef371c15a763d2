"""Statements that a connector runs as it connects and as it reads a snapshot: harmless, or refused.

Pure. No parser of SQL: what is not plainly harmless is refused, and a plain form always exists. The
statement of the heartbeat has a module of its own.
"""

import re
from typing import Final

_TEXT_OR_NAME = re.compile(r"""(?P<text>'(?:[^']|'')*')|"[^"]*"|`[^`]*`|\[[^\]]*\]""")
_PLAIN_NAME = re.compile(r"""["`\[][^'"`\[\]]*["`\]]""")
"""In a name of one database, a quote of another begins a text."""

_FORBIDDEN = re.compile(
    r"\b(drop|alter|create|grant|revoke|truncate|delete|insert|merge|copy|exec|execute|call|do|into|outfile"
    r"|dumpfile|program|update|use|backup|restore|kill|shutdown|waitfor|dbcc|bulk|declare|set|deny|openrowset|openquery|opendatasource|pg_(?!catalog\b)\w+|information_schema"
    r"|performance_schema|mysql|sys|sysobjects|syslogins)\b",
    re.IGNORECASE | re.ASCII,
)
"""Also what begins a statement: SQL Server needs no semicolon between two."""

_CALL = re.compile(r"(?<![^ (),:;=<>+*/%|&!~^?-])([^ (),:;=<>+*/%|&!~^?-]++) *\(")
"""What stands before a bracket, up to a blank or an operator: names may hold signs of any script. From the
beginning of a word only: from each of its letters it would take a square of time."""

_CALLED: Final = re.compile(
    # Not functions, but what may stand before a bracket.
    r"select|from|where|and|or|not|in|as|on|using|over|by|join|any|all|some|exists|values|between|then|when"
    r"|varchar|char|character|numeric|decimal|timestamp|time|interval"
    r"|abs|avg|cast|ceil|ceiling|char_length|coalesce|concat|convert|count|date|date_trunc|dateadd|datediff"
    r"|extract|floor|greatest|ifnull|isnull|least|left|length|lower|ltrim|max|min|mod|now|nullif|right|round"
    r"|row_number|rtrim|substr|substring|sum|to_char|to_date|to_timestamp|trim|upper|year|month|day"
    r"|getdate|current_timestamp",
    re.IGNORECASE | re.ASCII,
)
"""Functions that look at nothing but their arguments."""

_VARIABLES: Final = (
    # Postgres
    r"(?:lock|statement|transaction|idle_in_transaction_session|idle_session)_timeout|tcp_keepalives_\w+"
    r"|tcp_user_timeout|wal_sender_timeout|work_mem|temp_buffers|application_name|timezone|client_min_messages"
    r"|extra_float_digits|jit|enable_\w+|random_page_cost|default_transaction_isolation"
    # MariaDB and MySQL
    r"|(?:wait|interactive|net_read|net_write|innodb_lock_wait|lock_wait)_timeout|max_execution_time"
    r"|max_statement_time|time_zone|(?:sort|join|read|read_rnd)_buffer_size|tmp_table_size"
    r"|max_heap_table_size|group_concat_max_len|t(?:ransaction|x)_isolation"
    # SQL Server
    r"|deadlock_priority|nocount|xact_abort|arithabort|query_governor_cost_limit"
)
"""Settings of the session that change how long and with what memory it works, never who it is or what is
logged."""

_SET = re.compile(
    rf"set\s+(?:(?:session|local)\s+|@@(?:session\.)?)?(?:{_VARIABLES})(?:\s*=\s*|\s+to\s+|\s+)"
    r"(?:'[\w ./:+-]*'|[\w.:+-]+)"
    r"|set\s+(?:names\s+'?\w+'?|(?:session\s+)?time\s+zone\s+(?:'[\w/:+-]+'|\w+))"
    r"|set\s+(?:session\s+)?transaction\s+isolation\s+level"
    r"\s+(?:read\s+(?:un)?committed|repeatable\s+read|serializable|snapshot)",
    re.IGNORECASE | re.ASCII,
)
_NAMES: Final = {
    "publication.name": re.compile(r"[\w$ -]*"),
    "slot.name": re.compile(r"\w*", re.ASCII),
    "signal.data.collection": re.compile(r"[^\s;'()\\]*"),
    "replica.identity.autoset.values": re.compile(r"[^;'\"]*"),
}
"""Debezium writes these into statements of its own as they are."""

_PROGRAM = re.compile(
    r"\\|\$(where|function|accumulator|out|merge|lookup|graphLookup|unionWith)\b", re.IGNORECASE
)
_SEVERAL: Final = "it holds more than one statement, or a comment or quotes that may hide one"


def wrong_initial_statements(statements: str) -> str | None:
    """Why these may not run at each connection; None if they may."""
    if all(_SET.fullmatch(part.strip()) for part in statements.split(";") if part.strip()):
        return None
    return (
        "the connector's role would run them at each connection, and they do more than to set time-outs,"
        " memory or the time zone"
    )


def wrong_select(statement: str) -> str | None:
    """Why this may not read a table for a snapshot; None if it may."""
    bare = _bare(statement)
    if bare is None:
        return _SEVERAL
    reads = re.match(r"select\s", bare, re.IGNORECASE) and not _FORBIDDEN.search(bare)
    if not reads or not all(_CALLED.fullmatch(name) for name in _CALL.findall(bare)):
        return "the connector's role would run it, and it does more than to read a table of yours"
    return None


def wrong_name(key: str, value: str) -> str | None:
    """Why this may not be a name or a list of names in the connector's own statements; None if it may."""
    signs = _NAMES.get(key)
    if signs is None or signs.fullmatch(value):
        return None
    return "the connector writes it into its own statements as it is, and it may hold another one"


def wrong_document(text: str) -> str | None:
    """Why this pipeline or filter of MongoDB may not run; None if it may."""
    if not _PROGRAM.search(text):
        return None
    return "the connector's role would run it, and it holds a program, a backslash or another collection"


def _bare(statement: str) -> str | None:
    """The one statement without what stands in quotes; None if it may be several.

    A backslash is refused: dialects disagree on whether it escapes a quote. So is `U&"…"`, which spells
    any name by numbers, and a variable of the server.
    """
    if "\\" in statement:
        return None
    found = list(_TEXT_OR_NAME.finditer(statement))
    if not all(one["text"] or _PLAIN_NAME.fullmatch(one[0]) for one in found):
        return None
    bare = _TEXT_OR_NAME.sub(lambda one: "''" if one["text"] else one[0], statement.strip().removesuffix(";"))
    if bare.count('"') % 2 or bare.count("`") % 2:
        return None
    hiding = r";|--|/\*|#|@@|u&|\$\$|\$\w+\$|'(?!')(?<!'')"
    return None if re.search(hiding, bare, re.IGNORECASE) else bare.strip()
