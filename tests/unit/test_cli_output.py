"""What others wrote is shown and not obeyed: no control character reaches the terminal."""

import json
from io import StringIO

import pytest

from core.errors import ConfigurationError
from tailrace import cli
from tailrace.cli.output import clear, put, put_json, say
from tailrace.cli.reindex_wait import bar

EVIL = "shop\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\rfine"
SHOWN = r"shop\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\x0dfine"


def test_control_characters_are_spelled_out_and_lines_and_tabs_stay(
    capsys: pytest.CaptureFixture[str],
) -> None:
    put(f"{EVIL}\n\tat x")
    say(f"{EVIL}\n\tat x")
    assert capsys.readouterr() == (f"{SHOWN}\n\tat x\n", f"{SHOWN}\n\tat x\n")


def test_text_in_every_script_and_lines_of_windows_stay_readable(capsys: pytest.CaptureFixture[str]) -> None:
    put("Grüße → 日本語 \u200d 😀\r\nnext")
    assert capsys.readouterr().out == "Grüße → 日本語 \u200d 😀\nnext\n"


def test_json_says_the_same_and_holds_no_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    put_json({"name": EVIL, "said": "Grüße"})
    out = capsys.readouterr().out
    assert json.loads(out) == {"name": EVIL, "said": "Grüße"}
    assert "Grüße" in out
    assert not [sign for sign in out if sign != "\n" and (sign < " " or "\x7f" <= sign <= "\x9f")]


def test_what_has_no_encoding_is_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    put("half \ud83d of a pair")
    put_json({"name": "half \ud83d of a pair"})
    said, shown = capsys.readouterr().out.split("\n", 1)
    assert said == r"half \xd83d of a pair"
    assert json.loads(shown) == {"name": "half \ud83d of a pair"}


def test_json_on_one_line_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    put_json({"name": EVIL}, indent=None)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {"name": EVIL}


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_shows_what_others_wrote_and_takes_no_bracket_for_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stderr", shown := Terminal())
    monkeypatch.setenv("COLUMNS", "200")
    with bar() as draw:
        draw(f"waits: [/data/x] is [bold]{EVIL}", 1, 2)
    assert f"waits: [/data/x] is [bold]{SHOWN}" in shown.getvalue()


def test_an_error_of_a_command_is_shown_the_same_way(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConfigurationError(f"there is no connector {EVIL}")

    monkeypatch.setattr(cli, "app", fail)
    assert cli.run(["connect", "status"]) == 2
    assert capsys.readouterr().err == f"tailrace: there is no connector {SHOWN}\n"


def test_our_own_codes_work(capsys: pytest.CaptureFixture[str]) -> None:
    clear()
    assert capsys.readouterr().out == "\x1b[H\x1b[2J\n"
