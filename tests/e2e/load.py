"""The register workload: rows whose number only grows, a log of what was committed when, and a reader
that notes every answer. What was answered is judged afterwards, against the log.

Every row is owned by one writer, so the log of a key is in the order of its commits. The position
in the log is read after COMMIT: an answer as of that position or a later one must show at least
this value. A delete takes a number too: what is shown after it must be newer.
"""

import itertools
import random
import re
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self

import psycopg

from infra.stack import Stack
from tests.e2e.support import Api, Unavailable, long_text, lsn, say

Kind = Literal["articles", "orders"]
Row = tuple[Kind, int]

FIRST_KEY: Final = 100_000
ORDERS_EACH: Final = 3
"""Orders of one customer: below the view's limit, so every one is shown."""

LONG_EVERY: Final = 10
"""Every tenth article has a text that Postgres keeps out of line and most updates leave alone."""

_NUMBER: Final = re.compile(r"register (\d+)")


@dataclass(frozen=True, slots=True)
class Write:
    """One committed change of one row; `number` grows along a row's writes, deletes included."""

    position: int
    number: int
    live: bool


@dataclass(slots=True)
class Log:
    """What was committed, by row; and which deletes were begun, whether or not they are committed yet."""

    writes: dict[Row, list[Write]] = field(default_factory=dict)
    deletes_begun: Counter[Row] = field(default_factory=Counter)

    def at(self, row: Row, position: int) -> Write | None:
        """The last change whose position is at or before this one."""
        known = self.writes.get(row, [])
        place = bisect_right(known, position, key=lambda write: write.position)
        return known[place - 1] if place else None

    def deleted_after(self, row: Row, position: int) -> bool:
        """Whether a delete that is not covered by the position was ever begun."""
        covered = sum(not w.live for w in self.writes.get(row, []) if w.position <= position)
        return self.deletes_begun[row] > covered

    @property
    def commits(self) -> int:
        return sum(map(len, self.writes.values()))


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer: as of which position, which numbers it showed, and of which rows it said nothing."""

    what: str
    position: int
    shown: tuple[tuple[Row, int], ...]
    absent: tuple[Row, ...] = ()


class Workload:
    """Writers, and readers of the service, in threads of this process.

    `hold_s`: a transaction stays open up to so long, while others begin and commit. `articles` and
    `customers`: how many rows are written to.
    """

    def __init__(
        self,
        stack: Stack,
        *,
        articles: int = 200,
        customers: int = 30,
        writers: int = 4,
        pause_s: float = 0.05,
        hold_s: float = 0.0,
        first_key: int = FIRST_KEY,
        seed: int = 7,
    ) -> None:
        self._stack, self._pause, self._hold = stack, pause_s, hold_s
        self._articles = range(first_key, first_key + articles)
        self._customers = range(first_key, first_key + customers)
        self._writers, self._seed = writers, seed
        self._numbers = itertools.count(1)
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self.log = Log()
        self.seen: list[Seen] = []
        self.unavailable = 0
        """Questions that met no service: it was killed."""
        self.times: list[tuple[float, int]] = []
        """Wall clock (s) and number of each commit."""

    @contextmanager
    def running(self, *, ask: bool = True) -> Iterator[Self]:
        """Write, and ask, until the block ends; raises what a thread raised."""
        self._stop.clear()
        threads = [threading.Thread(target=self._guard, args=(self._write, n)) for n in range(self._writers)]
        if ask:
            threads.append(threading.Thread(target=self._guard, args=(self._ask, 0)))
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(60)
        if self._failures:
            raise self._failures[0]

    def wait_commits(self, more: int, within_s: float = 60.0) -> None:
        """Until so many more changes are committed."""
        self._wait(lambda: len(self.times), more, within_s, "commits")

    def wait_answers(self, more: int, within_s: float = 60.0) -> None:
        """Until so many more questions are answered."""
        self._wait(lambda: len(self.seen), more, within_s, "answers")

    def wait_newer(self, times: int) -> None:
        """Until answers have moved on so often: they are as of so many more positions."""
        for _ in range(times):
            newest = self._newest()
            self._wait(lambda newest=newest: int(self._newest() > newest), 1, 60.0, "newer answers")  # type: ignore[misc]

    def _newest(self) -> int:
        return max((seen.position for seen in self.seen), default=-1)

    def _wait(self, count: Callable[[], int], more: int, within_s: float, what: str) -> None:
        wanted, deadline = count() + more, time.monotonic() + within_s
        while count() < wanted:
            if self._failures:
                raise self._failures[0]
            assert time.monotonic() < deadline, f"nothing moves: {count()} {what} of {wanted}"
            time.sleep(0.02)

    def _guard(self, work: Any, number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - raised again where the test is
            self._failures.append(error)
            self._stop.set()

    def _write(self, writer: int) -> None:
        rng = random.Random(self._seed * 1000 + writer)  # noqa: S311 - the same load each time
        articles = self._articles[writer :: self._writers]
        customers = self._customers[writer :: self._writers]
        live: dict[int, bool] = {}
        with psycopg.connect(self._stack.dsn()) as connection:
            while not self._stop.is_set():
                pending: dict[Row, tuple[int, bool]] = {}
                for _ in range(rng.choice((1, 1, 2, 3))):
                    self._article(connection, rng, rng.choice(articles), live, pending)
                if rng.random() < 0.5:
                    self._order(connection, rng, rng.choice(customers), pending)
                if self._hold:
                    self._stop.wait(rng.random() * self._hold)
                connection.commit()
                found = connection.execute("SELECT pg_current_wal_lsn()::text").fetchone()
                connection.commit()
                assert found is not None
                self._note(lsn(found[0]), pending)
                self._stop.wait(self._pause)

    def _article(
        self,
        connection: psycopg.Connection[Any],
        rng: random.Random,
        key: int,
        live: dict[int, bool],
        pending: dict[Row, tuple[int, bool]],
    ) -> None:
        number = next(self._numbers)
        title = f"item{key} register {number}"
        is_long = key % LONG_EVERY == 0
        if live.get(key) and rng.random() < 0.1:
            self.log.deletes_begun["articles", key] += 1
            connection.execute("DELETE FROM articles WHERE id = %s", [key])
            live[key] = False
        elif not live.get(key) or (is_long and rng.random() < 0.1) or not is_long:
            said = f"About item{key}: the register {number} of the shop."
            body = f"About item{key}. {long_text(number)}" if is_long else said
            connection.execute(
                "INSERT INTO articles VALUES (%s, %s, %s, %s, 'en', true, clock_timestamp())"
                " ON CONFLICT (id) DO UPDATE SET title = excluded.title, body = excluded.body,"
                " category = excluded.category, updated_at = excluded.updated_at",
                [key, title, body, rng.choice(("care", "returns", "shipping"))],
            )
            live[key] = True
        else:  # the long text is left alone: Postgres does not log it, the connector sends a placeholder
            connection.execute(
                "UPDATE articles SET title = %s, updated_at = clock_timestamp() WHERE id = %s", [title, key]
            )
        pending["articles", key] = (number, live[key])

    def _order(
        self,
        connection: psycopg.Connection[Any],
        rng: random.Random,
        customer: int,
        pending: dict[Row, tuple[int, bool]],
    ) -> None:
        number = next(self._numbers)
        order = customer * 10 + rng.randrange(ORDERS_EACH)
        if rng.random() < 0.1:
            self.log.deletes_begun["orders", order] += 1
            connection.execute("DELETE FROM orders WHERE id = %s", [order])
            pending["orders", order] = (number, False)
            return
        connection.execute(
            "INSERT INTO orders VALUES (%s, %s, 201, %s, '2026-12-01', %s, clock_timestamp())"
            " ON CONFLICT (id) DO UPDATE SET status = excluded.status, total = excluded.total,"
            " updated_at = excluded.updated_at",
            [order, customer, f"register {number}", f"{number % 9000}.50"],
        )
        pending["orders", order] = (number, True)

    def _note(self, position: int, pending: Mapping[Row, tuple[int, bool]]) -> None:
        now = time.time()
        for row, (number, is_live) in pending.items():
            self.log.writes.setdefault(row, []).append(Write(position, number, is_live))
            self.times.append((now, number))

    def _ask(self, _: int) -> None:
        rng = random.Random(self._seed)  # noqa: S311 - the same questions each time
        known = -1
        with Api(self._stack.http_url, timeout=10.0) as api:
            while not self._stop.is_set():
                try:
                    seen = self._answer(api, rng, known)
                    self.seen.append(seen)
                    known = max(known, seen.position)
                except Unavailable:
                    self.unavailable += 1
                    self._stop.wait(0.1)
                self._stop.wait(0.02)

    def _answer(self, api: Api, rng: random.Random, known: int) -> Seen:
        """One question of a random kind. `known`: a position that an earlier answer had reached."""
        key, customer = rng.choice(self._articles), rng.choice(self._customers)
        kind = rng.choice(("search", "search", "document", "state", "chat"))
        if kind == "search":
            found = api.search(f"register of item{key}", state={"orders_by_customer": str(customer)})
            orders = found["state"]["orders_by_customer"]
            shown = [*_hits(found["hits"]), *_orders(orders)]
            return Seen(kind, _as_of(found), tuple(shown), tuple(_missing(customer, orders)))
        if kind == "chat":
            found = api.chat(f"What is the register of item{key}?")["tailrace"]
            cited = {(one["document"], one["key"]) for one in found["citations"]}
            listed = {(hit["document"], hit["key"]) for hit in found["hits"]}
            assert cited <= listed, f"cited and never retrieved: {cited - listed}"
            return Seen(kind, _as_of(found), tuple(_hits(found["hits"])))
        if kind == "state":
            found = api.state("orders_by_customer", customer)
            missing = tuple(_missing(customer, found["rows"]))
            return Seen(kind, _as_of(found), tuple(_orders(found["rows"])), missing)
        one = api.document("articles", key)
        if one is None:
            return Seen("document", known, (), (("articles", key),))
        numbers = [int(found) for found in _NUMBER.findall(one["manifest"]["title"])]
        return Seen("document", _as_of(one), tuple((("articles", key), n) for n in numbers))


@dataclass(frozen=True, slots=True)
class Judged:
    """How many answers with a position, how many rows in them had to be at least of some value."""

    answers: int
    rows: int
    bound: int
    """Of the rows those that the answer's position obliges to a value."""
    positions: int
    """Different positions among the answers."""
    wrong: tuple[str, ...]


def judge(log: Log, seen: Iterable[Seen]) -> Judged:
    """For every answer: its rows against what was committed at or before its position."""
    answers = rows = bound = 0
    positions: set[int] = set()
    wrong: list[str] = []
    newest: dict[tuple[str, Row], int] = {}
    for answer in seen:
        if answer.position < 0:
            continue
        answers += 1
        positions.add(answer.position)
        for row, number in answer.shown:
            rows += 1
            least = log.at(row, answer.position)
            bound += least is not None
            if least is not None and (number < least.number or (number == least.number and not least.live)):
                said = "was committed" if least.live else "was its deletion"
                wrong.append(
                    f"{answer.what} as of {answer.position:X} shows {row} = {number}: {least.number} {said}"
                )
            if answer.what in ("document", "state"):
                before = newest.get((answer.what, row), -1)
                if number < before:
                    wrong.append(f"{answer.what} shows {row} = {number} after it had shown {before}")
                newest[answer.what, row] = number
        for row in answer.absent:
            least = log.at(row, answer.position)
            if least is not None and least.live and not log.deleted_after(row, answer.position):
                wrong.append(f"{answer.what} as of {answer.position:X} does not show {row} = {least.number}")
            bound += least is not None
    return Judged(answers, rows, bound, len(positions), tuple(wrong))


def check_answers(workload: Workload, *, at_least: int) -> Judged:
    """Prints what was judged; fails on any wrong answer, and if too little obliged anything."""
    judged = judge(workload.log, workload.seen)
    say(
        f"answers: {judged.answers} as of {judged.positions} positions, {judged.rows} rows, {judged.bound} of"
        f" them bound by a commit, {len(judged.wrong)} wrong; {workload.unavailable} unanswered;"
        f" {workload.log.commits} commits"
    )
    assert not judged.wrong, f"{len(judged.wrong)} wrong:\n" + "\n".join(judged.wrong[:20])
    assert judged.bound >= at_least, "not exercised: too few rows were bound by a commit"
    assert judged.positions > 3, "not exercised: the position did not move"
    return judged


def _as_of(found: Mapping[str, Any]) -> int:
    position = found["freshness"]["as_of"]["shop"]["position"]
    return -1 if position is None else lsn(position)


def _hits(hits: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Row, int]]:
    for hit in hits:
        if hit["document"] == "articles":
            numbers = [*_NUMBER.findall(hit["title"]), *_NUMBER.findall(hit["text"])]
            yield from ((("articles", int(hit["key"])), int(number)) for number in numbers)


def _orders(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Row, int]]:
    for row in rows:
        yield ("orders", int(row["id"])), int(_NUMBER.findall(row["status"])[0])


def _missing(customer: int, rows: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    shown = {int(row["id"]) for row in rows}
    for order in range(customer * 10, customer * 10 + ORDERS_EACH):
        if order not in shown:
            yield "orders", order
