"""What presses on a deployment while generations change: rows that are edited, and clients without a pause.

Every text and title begins with its generation's own word, so an answer made of two of them shows.
"""

import contextlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

import httpx2
from confluent_kafka import Producer

CLIENTS: Final = 4
ROWS: Final = 400
WORDS: Final = ("tent", "boot", "stove", "rope", "map", "lamp", "bag")
ONE, TWO = "Alpha", "Omega"


class Rows:
    """Writes the raw topic as Debezium would: all rows once, then edits, births and deaths until it stops."""

    def __init__(self, brokers: str) -> None:
        self._producer = Producer({"bootstrap.servers": brokers, "linger.ms": 5})
        self._lsn = 1000
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._edit, daemon=True)

    def write(self, key: int, body: str | None) -> None:
        self._lsn += 10
        row = {"id": key, "body": body}
        source = {
            "connector": "postgresql",
            "name": "shop",
            "ts_ms": int(time.time() * 1000),
            "snapshot": "false",
            "sequence": json.dumps([str(self._lsn - 1), str(self._lsn)]),
            "schema": "public",
            "table": "articles",
            "lsn": self._lsn,
        }
        value = {
            "before": row if body is None else None,
            "after": None if body is None else row,
            "source": source,
            "op": "d" if body is None else "u",
            "ts_ms": source["ts_ms"],
        }
        made = json.dumps({"id": key}).encode(), json.dumps(value).encode()
        self._producer.produce("shop.public.articles", key=made[0], value=made[1], partition=0)

    def fill(self) -> None:
        for key in range(1, ROWS + 1):
            self.write(key, body(key, 0))
        self._producer.flush(30)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        self._producer.flush(30)

    def _edit(self) -> None:
        chance = random.Random(4)  # noqa: S311 - repeatable, not a secret
        turn = 0
        while not self._stop.wait(0.03):
            turn += 1
            self.write(chance.randint(1, ROWS), body(chance.randint(1, ROWS), turn))
            self.write(10_000 + turn, body(turn, turn))
            if turn > 20:
                self.write(10_000 + turn - 20, None)
            self._producer.poll(0)


def body(key: int, turn: int) -> str:
    return f"says that a {WORDS[key % len(WORDS)]} of kind {key % 17} needs care, edit {turn}."


@dataclass
class Client:
    """Searches, reads documents and pages without a pause."""

    url: str
    seed: int
    seen: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        chance = random.Random(self.seed)  # noqa: S311 - repeatable, not a secret
        with httpx2.Client(base_url=self.url, timeout=20, trust_env=False) as http:
            while not self._stop.is_set():
                ask = chance.choice((self._search, self._search, self._document, self._page))
                try:
                    ask(http, chance)
                except httpx2.HTTPError as error:
                    self.wrong.append(repr(error))

    def _search(self, http: httpx2.Client, chance: random.Random) -> None:
        query = f"{chance.choice(WORDS)} of kind {chance.randint(0, 16)}"
        found = http.post("/v1/search", json={"query": query, "profile": "support"})
        if self._good(found):
            hits = found.json()["hits"]
            self._marks("search", [hit["title"] for hit in hits] + [hit["text"] for hit in hits])

    def _document(self, http: httpx2.Client, chance: random.Random) -> None:
        found = http.get(f"/v1/documents/articles/{chance.randint(1, ROWS)}")
        if self._good(found):
            made = found.json()
            texts = [chunk["text"] for chunk in made["chunks"]]
            self._marks("document", [made["manifest"]["title"], *texts] if texts else [])

    def _page(self, http: httpx2.Client, chance: random.Random) -> None:
        found = http.get(f"/v1/documents/articles?limit={chance.randint(5, 100)}")
        if self._good(found):
            self._marks("page", [line["title"] for line in found.json()["data"]])

    def _good(self, answer: httpx2.Response) -> bool:
        if not answer.is_success:
            self.wrong.append(f"{answer.request.url}: {answer.status_code} {answer.text[:300]}")
        return answer.is_success

    def _marks(self, what: str, texts: Sequence[str]) -> None:
        marks = {text.partition(" ")[0] for text in texts}
        if len(marks) != 1:
            self.wrong.append(f"{what}: {'empty' if not marks else f'mixed: {sorted(marks)}'}")
        self.seen.update(marks)

    def stop(self) -> None:
        self._stop.set()


@contextlib.contextmanager
def asking(url: str) -> Iterator[list[Client]]:
    clients = [Client(url, seed) for seed in range(CLIENTS)]
    threads = [threading.Thread(target=client.run, daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        for client in clients:
            client.stop()
        for thread in threads:
            thread.join(30)
