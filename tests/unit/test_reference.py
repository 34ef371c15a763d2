"""docs/configuration.md says what the settings say."""

from pathlib import Path

from tailrace.reference import page


def test_the_page_of_every_key_is_current() -> None:
    written = Path(__file__).parents[2] / "docs" / "configuration.md"
    assert written.read_text(encoding="utf-8") == page(), (
        "run: python -m tailrace.reference > docs/configuration.md"
    )
