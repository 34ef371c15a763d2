"""`tailrace reindex`: messages and exit codes where no broker answers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tailrace.cli.reindex import _strays
from tests.unit import cli_hands
from tests.unit.cli_hands import Done

CONFIG = """
app: shop
log: {log}
index: {{kind: memory}}
encoder: {{kind: hashing}}
sources: {{shop: {{prefix: shop, tables: [public.articles]}}}}
documents:
  articles: {{table: shop.public.articles, text: "{{{{ body }}}}"}}
profiles: {{support: {{documents: [articles]}}}}
reindex: {{queries: queries, min_recall: 0.9}}
"""
COMMANDS = ("plan", "ls", "start", "status", "compare", "promote", "rollback", "drop")


def tailrace(folder: Path, *arguments: str) -> Done:
    return cli_hands.tailrace("reindex", *arguments, folder=folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tailrace.yaml").write_text(CONFIG.format(log="{kind: embedded}"))
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, tmp_path: Path) -> None:
    done = tailrace(tmp_path, command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["ls"],
        ["start", "articles"],
        ["status"],
        ["promote", "articles"],
        ["rollback", "articles"],
        ["drop", "articles", "2", "--yes"],
    ],
)
def test_a_log_inside_another_process_is_refused_with_what_to_do(arguments: list[str], folder: Path) -> None:
    done = tailrace(folder, *arguments)
    assert done.returncode == 2
    assert "log.kind is embedded" in done.stderr
    assert "tailrace demo" in done.stderr
    assert not done.stdout


RESULT: dict[str, Any] = {
    "document": "articles",
    "live": {
        "number": 1,
        "size": {"documents": 412, "chunks": 1234},
        "recall": 1.0,
        "latency": {"p50_ms": 1.24, "p95_ms": 3.0},
    },
    "candidate": {
        "number": 2,
        "size": {"documents": 411, "chunks": 980},
        "recall": 0.75,
        "latency": {"p50_ms": 1.5, "p95_ms": 4.0},
    },
    "missing": {"count": 1, "keys": ["17"]},
    "extra": {"count": 0, "keys": []},
    "different": {"count": 0, "keys": []},
    "top_k": 10,
    "overlap": 0.65,
    "questions": [
        {
            "query": "How long to Norway?",
            "live": ["1", "2"],
            "candidate": ["1", "3"],
            "overlap": 0.5,
            "live_recall": 1.0,
            "candidate_recall": 0.5,
        },
        {
            "query": "Any tents?",
            "live": ["4"],
            "candidate": ["4"],
            "overlap": 1.0,
            "live_recall": 1.0,
            "candidate_recall": 1.0,
        },
    ],
    "seconds": 1.5,
}


class Handler(BaseHTTPRequestHandler):
    lines: tuple[Any, ...] = ()
    busy: int
    asked: list[Any]

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        type(self).asked.append((self.path, json.loads(self.rfile.read(length))))
        if len(self.asked) <= self.busy:
            self.send_response(503)
            self.send_header("retry-after", "1")
            self.end_headers()
            self.wfile.write(b'{"detail": "another comparison is running"}')
            return
        self.send_response(200)
        self.send_header("content-type", "application/x-ndjson")
        self.end_headers()
        for line in self.lines:
            self.wfile.write(json.dumps(line).encode() + b"\n")

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the library's name
        """Silent."""


@contextmanager
def service(*lines: Any, busy: int = 0, handler: type[Handler] = Handler) -> Iterator[tuple[str, list[Any]]]:
    """A query service that answers every comparison with these lines, but for the first so many."""
    asked: list[Any] = []
    mine = type("Mine", (handler,), {"lines": lines, "asked": asked, "busy": busy})
    server = HTTPServer(("127.0.0.1", 0), mine)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


STEP = {"step": {"what": "documents", "done": 1, "total": 2}}


def test_a_comparison_asks_the_saved_questions_and_exits_3_where_the_gate_fails(folder: Path) -> None:
    (folder / "queries").mkdir()
    (folder / "queries" / "all.yaml").write_text(
        "- {query: 'How long to Norway?', expected: [1, 2]}\n- {query: 'Any tents?', document: articles}\n"
    )
    with service(STEP, {"result": RESULT}) as (url, asked):
        done = tailrace(folder, "compare", "articles", "--url", url)
        assert done.returncode == 3, done.stderr
        assert done.stdout == (
            "articles        generation 1 (answers)  generation 2\n"
            "--------------  ----------------------  ------------\n"
            "documents       412                     411\n"
            "chunks          1,234                   980\n"
            "recall@10       1.000                   0.750\n"
            "search p50, ms  1.2                     1.5\n"
            "search p95, ms  3.0                     4.0\n"
            "\n"
            "missing   1  (17)\n"
            "extra     0\n"
            "different 0\n"
            "overlap@10 0.650 over 2 saved questions\n"
            "  0.50  How long to Norway?\n"
            "\n"
            "gate: 1 documents are missing (max_missing: 0)\n"
            "gate: recall is 0.750 (min_recall: 0.9)\n"
        )
        assert asked == [
            (
                "/v1/generations/articles/compare",
                {
                    "top_k": 10,
                    "questions": [
                        {"query": "How long to Norway?", "expected": ["1", "2"]},
                        {"query": "Any tents?", "expected": []},
                    ],
                },
            )
        ]
        told = tailrace(folder, "compare", "articles", "--url", url, "--json", "--number", "2")
        assert told.returncode == 3
        made = json.loads(told.stdout)
        assert (made["passed"], len(made["why"]), made["missing"]["keys"]) == (False, 2, ["17"])
        assert asked[1][1]["number"] == 2


def test_a_passed_gate_is_exit_0(folder: Path) -> None:
    good = {**RESULT, "missing": {"count": 0, "keys": []}}
    good["candidate"] = {**RESULT["candidate"], "recall": 0.95}
    with service({"result": good}) as (url, _):
        done = tailrace(folder, "compare", "articles", "--url", url)
    assert done.returncode == 0
    assert done.stdout.endswith("gate: passed\n")


def test_another_comparison_is_waited_for_as_long_as_the_service_says_and_no_longer(folder: Path) -> None:
    with service({"result": RESULT}, busy=1) as (url, asked):
        done = tailrace(folder, "compare", "articles", "--url", url)
        assert (done.returncode, len(asked)) == (3, 2), done.stderr
        assert "another comparison is running: waiting up to 60 s for it" in done.stderr
    with service({"result": RESULT}, busy=9) as (url, asked):
        done = tailrace(folder, "compare", "articles", "--url", url, "--timeout", "0.1")
        assert (done.returncode, done.stdout) == (1, "")
        assert "another comparison is running" in done.stderr
        assert len(asked) == 2


def test_questions_that_neither_answers_measure_nothing(folder: Path) -> None:
    config = folder / "tailrace.yaml"
    config.write_text(config.read_text().replace("min_recall: 0.9", "min_overlap: 0.5"))
    nothing: dict[str, Any] = {"live": [], "candidate": [], "overlap": None}
    silent = [{"query": "Any tents?", **nothing, "live_recall": None, "candidate_recall": None}]
    good = {**RESULT, "missing": {"count": 0, "keys": []}, "questions": silent, "overlap": None}
    with service({"result": good}) as (url, _):
        done = tailrace(folder, "compare", "articles", "--url", url)
    assert done.returncode == 3
    assert "overlap@10 - over 0 saved questions\n  neither finds anything: Any tents?\n" in done.stdout
    assert "gate: min_overlap is 0.5, and no saved question in queries measures it" in done.stdout


def test_a_comparison_that_breaks_off_is_exit_1(folder: Path) -> None:
    with service(STEP, {"error": {"detail": "one of the generations was dropped meanwhile"}}) as (url, _):
        done = tailrace(folder, "compare", "articles", "--url", url)
    assert (done.returncode, done.stdout) == (1, "")
    assert "dropped meanwhile" in done.stderr
    with service(STEP) as (url, _):
        done = tailrace(folder, "compare", "articles", "--url", url)
    assert done.returncode == 1
    assert "without a result" in done.stderr


def test_a_service_that_is_down_and_a_wrong_question_file(folder: Path) -> None:
    done = tailrace(folder, "compare", "articles", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "no query service" in done.stderr
    (folder / "queries").mkdir()
    (folder / "queries" / "bad.yaml").write_text("- expected: [1]\n")
    done = tailrace(folder, "compare", "articles", "--url", "http://127.0.0.1:9")
    assert done.returncode == 2
    assert "bad.yaml:1: question 1: query is missing" in done.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (5, "no answer of a query service"),
        ({"step": {"what": "other"}}, "no answer of a query service"),
        ({"result": {**RESULT, "live": 7}}, "no answer of a query service"),
        ({"error": "busy"}, "compare: busy"),
    ],
)
def test_an_answer_of_something_else_is_said_to_be_one(line: Any, said: str, folder: Path) -> None:
    with service(line) as (url, _):
        done = tailrace(folder, "compare", "articles", "--url", url)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr


@pytest.mark.parametrize("url", ["foo", "http://[::1", "http://a..b", "ftp://x"])
def test_an_address_that_is_none_is_refused(url: str, folder: Path) -> None:
    done = tailrace(folder, "compare", "articles", "--url", url)
    assert done.returncode == 2
    assert f"{url} is no address of a query service: write http://host:port" in done.stderr


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b'{"strays": 5}'])
def test_another_program_at_the_service_s_address_knows_of_no_strays(body: bytes, folder: Path) -> None:
    class Other(Handler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

    with service(handler=Other) as (url, _):
        assert _strays(url, folder / "tailrace.yaml") == []


@pytest.mark.parametrize("seconds", ["-1", "nan"])
@pytest.mark.parametrize("command", ["compare", "promote", "rollback"])
def test_a_limit_that_is_none_is_refused(command: str, seconds: str, folder: Path) -> None:
    done = tailrace(folder, command, "articles", "--timeout", seconds)
    assert done.returncode == 2
    assert "--timeout" in done.stderr


def test_a_broker_that_is_away_is_exit_1(tmp_path: Path) -> None:
    log = '{kind: kafka, brokers: ["127.0.0.1:9"]}'
    (tmp_path / "tailrace.yaml").write_text(CONFIG.format(log=log))
    done = tailrace(tmp_path, "ls")
    assert done.returncode == 1
    assert "shop.generations at 127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_before_anything_was_wished_for_says_nothing_of_work_that_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tailrace.configuration.load", interrupted)
    assert tailrace(folder, "start", "articles") == Done(130, "", "")
