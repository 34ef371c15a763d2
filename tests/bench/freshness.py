"""From COMMIT to the answer, as a client outside sees it: Postgres, Debezium, Kafka, Tailrace, HTTP.

An article of some pages gets a section that nobody has written before, and that is searched for until
the answer quotes it. The clock starts when COMMIT has returned. One edit at a time, on an
idle stack; the next one comes after a random pause, so that no edit knows where a poll stands.
"""

import random
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Final

import httpx2
import psycopg
from prometheus_client.parser import text_string_to_metric_families

from infra.stack import Stack
from tests.bench.edits import sentence
from tests.bench.path import prose

EDITS: Final = 300
WARM_UP: Final = 20
LOST_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.01
"""Between two searches: a reader that asks without a pause takes the core that its edit needs."""

PAUSE_SECONDS: Final = (0.02, 0.12)

HISTOGRAMS: Final = (
    "tailrace_stage_seconds",
    "tailrace_commit_to_searchable_seconds",
    "tailrace_encode_seconds",
    "tailrace_index_write_seconds",
    "tailrace_index_flush_seconds",
    "tailrace_search_seconds",
)
Totals = dict[str, tuple[float, float]]


def totals(exposition: str) -> Totals:
    """Sum and count of each histogram and each of its labels."""
    found: Totals = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            base, _, kind = sample.name.rpartition("_")
            if base in HISTOGRAMS and kind in {"sum", "count"}:
                name = " ".join(
                    [base.removeprefix("tailrace_").removesuffix("_seconds"), *sample.labels.values()]
                )
                total, count = found.get(name, (0.0, 0.0))
                found[name] = (sample.value, count) if kind == "sum" else (total, sample.value)
    return found


def means_ms(before: Totals, after: Totals) -> dict[str, float]:
    """Of what was observed in between."""
    made = {}
    for name, (total, count) in sorted(after.items()):
        earlier, so_many = before.get(name, (0.0, 0.0))
        if count > so_many:
            made[name] = 1000 * (total - earlier) / (count - so_many)
    return made


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


class Shop:
    """The database's side and the reader's side of one article after the other.

    Each article has a category of its own, which the searches filter by: how well new words rank
    among other articles is not measured here.
    """

    def __init__(self, database: "psycopg.Connection[tuple[object, ...]]", client: httpx2.Client) -> None:
        self._database, self._client = database, client
        rows = database.execute(
            "SELECT id, body, category FROM articles WHERE published ORDER BY id"
        ).fetchall()
        self._were: Mapping[int, tuple[str, str]] = {
            int(str(key)): (str(body), str(category)) for key, body, category in rows
        }
        # Other words in each run: a text that the stack has met before would not be embedded again.
        self._chance = random.Random(time.time_ns())  # noqa: S311 - no secret
        self.searches = 0
        database.execute("UPDATE articles SET category = 'article-' || id WHERE published")

    def edit(self) -> float:
        """Seconds from COMMIT to the answer that shows the edit. Raises TimeoutError if none does."""
        key = self._chance.choice(list(self._were))
        word = "".join(self._chance.choices("bcdfghjklmnpqrstvwxz", k=3)) + str(self._chance.randrange(10**6))
        first, *more = (prose(self._chance, sentence(self._chance)) for _ in range(3))
        section = f"## {word}\n\n{' '.join([first, *more])}"
        asked = {
            "query": f"{word} {first}",
            "profile": "support",
            "top_k": 10,
            "filters": {"category": [f"article-{key}"]},
        }
        self._database.execute(
            "UPDATE articles SET body = %s WHERE id = %s", [f"{self._were[key][0]}\n\n{section}", key]
        )
        start = time.perf_counter()
        while True:
            answer = self._client.post("/v1/search", json=asked)
            now = time.perf_counter()
            answer.raise_for_status()
            self.searches += 1
            if any(word in hit["text"] for hit in answer.json()["hits"]):
                return now - start
            if now - start > LOST_SECONDS:
                raise TimeoutError(f"an edit of article {key} was not found within {LOST_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)

    def pause(self) -> None:
        time.sleep(self._chance.uniform(*PAUSE_SECONDS))

    def restore(self) -> None:
        """The articles as they were."""
        for key, (body, category) in self._were.items():
            self._database.execute(
                "UPDATE articles SET body = %s, category = %s WHERE id = %s", [body, category, key]
            )


def run(stack: Stack, edits: int = EDITS) -> dict[str, object]:
    stack.up()
    with (
        psycopg.connect(stack.dsn(), autocommit=True) as database,
        httpx2.Client(base_url=stack.http_url, timeout=LOST_SECONDS, trust_env=False) as client,
    ):
        shop = Shop(database, client)
        try:
            for _ in range(WARM_UP):
                shop.edit()
            before, searches = totals(client.get("/metrics").text), shop.searches
            seconds = []
            for _ in range(edits):
                shop.pause()
                seconds.append(shop.edit())
            after, searches = totals(client.get("/metrics").text), shop.searches - searches
        finally:
            shop.restore()
    return {
        "p50, ms": 1000 * statistics.median(seconds),
        "p90, ms": 1000 * percentile(seconds, 0.9),
        "p99, ms": 1000 * percentile(seconds, 0.99),
        "longest, ms": 1000 * max(seconds),
        "edits": len(seconds),
        "searches": searches,
        "means, ms": means_ms(before, after),
    }
