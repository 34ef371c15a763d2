from dataclasses import replace

import pytest

from embed.index import Drop
from embed.model import Document, Manifest, Removal
from embed.plan import desired, manifest, plan, strays

DOCUMENT = Document("articles", "7", b"k7", 5, "T", "", None, "a", ("staff",), {"lang": "en"}, "0/1", 9)
GONE = Removal("articles", "7", b"k7", 6, "a", "0/2", 10)


def held(document: Document, pieces: list[str]) -> Manifest:
    return manifest(document, desired(document, pieces), "f1")


def ids(document: Document, pieces: list[str]) -> list[str]:
    return [str(chunk.id) for chunk in desired(document, pieces)]


def test_an_id_says_owner_filters_and_text_but_not_the_place() -> None:
    before = ids(DOCUMENT, ["a", "b"])
    assert ids(DOCUMENT, ["new", "a", "b"])[1:] == before
    assert (
        ids(replace(DOCUMENT, version=9, title="U", url="x", position="", committed_at=1), ["a", "b"])
        == before
    )
    assert len({*before, *ids(DOCUMENT, ["a", "a", "b", "b"])}) == 4


@pytest.mark.parametrize(
    "other",
    [
        replace(DOCUMENT, name="pages"),
        replace(DOCUMENT, canonical=b"k8"),
        replace(DOCUMENT, tenant=None),
        replace(DOCUMENT, tenant="b"),
        replace(DOCUMENT, groups=None),
        replace(DOCUMENT, groups=()),
        replace(DOCUMENT, metadata={"lang": "de"}),
        replace(DOCUMENT, metadata={"lang": ["en"]}),
        replace(DOCUMENT, metadata={}),
    ],
)
def test_whatever_a_search_filters_by_makes_another_chunk(other: Document) -> None:
    assert not set(ids(DOCUMENT, ["a"])) & set(ids(other, ["a"]))


def test_order_of_groups_and_metadata_makes_none() -> None:
    one = replace(DOCUMENT, groups=("a", "b"), metadata={"x": 1, "y": 2})
    assert ids(one, ["a"]) == ids(replace(DOCUMENT, groups=("b", "a"), metadata={"y": 2, "x": 1}), ["a"])


def test_a_new_document_adds_everything() -> None:
    made = plan(None, DOCUMENT, desired(DOCUMENT, ["a", "b"]), "f1")
    assert made.outcome == "put"
    assert [chunk.text for chunk in made.add] == ["a", "b"]
    assert made.swap is not None
    assert made.swap.expect is None
    assert made.drop is None


def test_a_newer_manifest_supersedes() -> None:
    newer = replace(held(DOCUMENT, ["a"]), version=6)
    assert plan(newer, DOCUMENT, desired(DOCUMENT, ["b"]), "f1").outcome == "superseded"


def test_a_removal_at_the_version_that_is_held_drops_its_chunks() -> None:
    """Of a row that is gone without a change of its own: nothing newer tells of it."""
    old = held(DOCUMENT, ["a"])
    removed = plan(old, replace(GONE, version=5), (), "f1")
    assert (removed.outcome, removed.drop) == ("remove", Drop(old.chunks, below=6))


def test_a_truncate_leaves_the_row_that_lives_at_its_version() -> None:
    truncate = replace(GONE, version=5, truncated=True)
    assert plan(held(DOCUMENT, ["a"]), truncate, (), "f1").outcome == "superseded"
    assert plan(manifest(truncate, (), "f1"), truncate, (), "f1").outcome == "unchanged"
    assert plan(manifest(truncate, (), "f1"), DOCUMENT, desired(DOCUMENT, ["a"]), "f1").outcome == "put"
    older = replace(held(DOCUMENT, ["a"]), version=4)
    assert plan(older, truncate, (), "f1").drop == Drop(older.chunks, below=5)


def test_redelivery_needs_nothing() -> None:
    made = plan(held(DOCUMENT, ["a"]), DOCUMENT, desired(DOCUMENT, ["a"]), "f1")
    assert (made.outcome, made.add, made.swap, made.drop) == ("unchanged", (), None, None)
    grave = manifest(GONE, (), "f1")
    assert plan(grave, GONE, (), "f1").outcome == "unchanged"


def test_a_title_is_a_manifest_only() -> None:
    retitled = replace(DOCUMENT, version=6, title="U")
    made = plan(held(DOCUMENT, ["a"]), retitled, desired(retitled, ["a"]), "f1")
    assert (made.outcome, made.add, made.drop) == ("put", (), None)
    assert made.swap is not None
    assert (made.swap.expect, made.swap.manifest.version, made.swap.manifest.title) == (5, 6, "U")


def test_an_edit_adds_and_drops_the_difference() -> None:
    edited = replace(DOCUMENT, version=6)
    old = held(DOCUMENT, ["a", "b"])
    made = plan(old, edited, desired(edited, ["b", "c"]), "f1")
    assert [chunk.text for chunk in made.add] == ["c"]
    assert made.drop == Drop((old.chunks[0],), below=6)


def test_a_removal_drops_everything_and_keeps_the_fence() -> None:
    old = held(DOCUMENT, ["a", "b"])
    made = plan(old, GONE, (), "f1")
    assert made.outcome == "remove"
    assert made.drop == Drop(old.chunks, below=6)
    assert made.swap is not None
    assert made.swap.manifest.deleted
    assert made.swap.manifest.chunks == ()
    assert plan(None, GONE, (), "f1").outcome == "remove"


def test_an_equal_version_that_differs_is_completed() -> None:
    made = plan(held(DOCUMENT, ["a", "b"]), DOCUMENT, desired(DOCUMENT, ["b"]), "f1")
    assert made.outcome == "put"
    assert made.drop is not None
    assert made.swap is not None
    assert made.swap.expect == 5


def test_vectors_of_another_encoder_are_written_again() -> None:
    made = plan(held(DOCUMENT, ["a", "b"]), DOCUMENT, desired(DOCUMENT, ["a", "b"]), "f2")
    assert [chunk.text for chunk in made.add] == ["a", "b"]
    assert made.drop is None
    rewritten = plan(held(DOCUMENT, ["a"]), DOCUMENT, desired(DOCUMENT, ["a"]), "f1", rewrite=True)
    assert [chunk.text for chunk in rewritten.add] == ["a"]


def test_a_loser_takes_back_what_the_winner_does_not_list() -> None:
    written = desired(DOCUMENT, ["a", "b"])
    winner = replace(held(DOCUMENT, ["b"]), version=8)
    assert strays(written, winner) == Drop((written[0].id,), below=8)
    assert strays(written[1:], winner) is None
    assert strays(written, None) is None
