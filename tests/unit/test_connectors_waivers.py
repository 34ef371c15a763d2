"""What a connector's file accepts: rules that there are, and waivers that waive nothing."""

from pathlib import Path

import pytest

from connectors.spec import spec_of
from tests.unit.connector_files_world import live, refused


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("no-tsl", "accept.no-tsl: there is no such rule: did you mean no-tls?"),
        ("x", "accept.x: there is no such rule: write one of bigint.unsigned.handling.mode, "),
    ],
)
def test_a_waiver_of_no_rule_is_refused(rule: str, said: str, tmp_path: Path) -> None:
    assert said in refused(tmp_path, {"name": "a", "accept": {rule: "because"}})


def test_a_waiver_that_waives_nothing_is_told() -> None:
    spec = spec_of("shop", {**live(), "database.sslmode": "disable"}, accept={"no-tls": "a", "tables": "b"})
    assert spec.violations() == []
    assert spec.idle_waivers() == ["tables"]
