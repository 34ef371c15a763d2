"""Every metric, declared before it is counted: the catalogue of `GET /metrics`.

Prometheus names carry the unit. A name that is not here cannot be counted: a typo is an
error at import, not a series that nobody watches.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


def _counter(name: str, what: str, *labels: str) -> Counter:
    return Counter(f"tailrace_{name}", what, labels, registry=REGISTRY)


def _gauge(name: str, what: str, *labels: str) -> Gauge:
    return Gauge(f"tailrace_{name}", what, labels, registry=REGISTRY)


def _seconds(name: str, what: str, *labels: str) -> Histogram:
    return Histogram(f"tailrace_{name}_seconds", what, labels, registry=REGISTRY, buckets=_FAST)


# Ingest: each raw record has exactly one outcome.
RAW_RECORDS = _counter(
    "raw_records",
    "Raw records by outcome: applied, superseded, ignored, parked",
    "table",
    "outcome",
)
RAW_IGNORED = _counter("raw_ignored", "Ignored raw records by kind", "table", "kind")
DEAD_LETTERS = _counter("dead_letters", "Records parked, by stage and error class", "stage", "error")
REPAIRED_TEXT = _counter("repaired_text", "Lone surrogates replaced in decoded text", "table")
STATE_REPAIRS = _counter("state_repairs", "Regressed state records published again", "table")
STATE_UNREADABLE = _counter("state_unreadable", "State records that cannot be read, and were passed", "topic")
RETRIES = _counter("retries", "Transient failures waited out, by stage", "stage")
RESOLVE_BATCH = _seconds("resolve_batch", "Raw batch to acknowledged state records")

# Embed: what a change cost.
EMBEDDED = _counter("embedded_chunks", "Chunks that the encoder was paid for", "document")
REUSED = _counter("reused_vectors", "Chunks whose vector came from the store", "document")
INDEXED = _counter("indexed_documents", "Manifests written, by kind: put, remove", "document", "kind")
UNCHANGED = _counter("unchanged_documents", "Changes that needed no index write", "document")
ENCODE = _seconds("encode", "One call of the encoder", "document")
INDEX_WRITE = _seconds("index_write", "Chunks, manifests and drops of one batch", "document")
INDEX_FLUSH = _seconds("index_flush", "One flush of the index", "document")

# Freshness: commit to searchable, stage by stage.
STAGE = _seconds(
    "stage",
    "Time of one change in a stage: source (commit to raw log), resolve (raw log to state),"
    " queue (state to index agent), index (index agent to searchable)",
    "stage",
)
COMMIT_TO_SEARCHABLE = _seconds("commit_to_searchable", "Source commit to searchable", "document")
INDEX_LAG = _gauge("index_lag_seconds", "Age of the oldest change not yet searchable", "source")
STATE_LAG = _gauge("state_lag_seconds", "Age of the oldest change not yet in the state view", "source")

# Retrieve and serve.
SEARCH = _seconds("search", "One retrieval, embedding and read join included", "profile")
JOIN_DROPPED = _counter("join_dropped", "Hits dropped by the read join, by reason", "reason")
STALE_HITS = _counter("stale_hits", "Hits older than the row they came from", "document")
ANSWERS = _counter("answers", "Chat answers by outcome: grounded, unknown, failed", "profile", "outcome")
LLM_CALL = _seconds("llm_call", "One LLM call, to the last token", "llm")
CITATIONS_REFUSED = _counter("citations_refused", "Citations that named no evidence", "profile")
PAGES_REFUSED = _counter("pages_refused", "Hits whose url is no http or https address", "document")
HTTP = _seconds("http_request", "One HTTP request", "route", "status")
