"""The read join: each reason to cite or drop a passage, alone."""

import uuid
from dataclasses import replace

import pytest

from core.errors import ContractError
from core.keys import RowKey
from core.settings import DocumentSettings
from core.state import Json, StateRow
from embed.model import Change, Manifest, Scope, manifest_id
from embed.render import Renderer
from retrieve.join import Joined, Verdict, current, listed, shown

KEY = RowKey.of({"id": 1})
ONE, TWO = uuid.UUID(int=1), uuid.UUID(int=2)
MANIFEST = Manifest(
    manifest_id("articles", KEY.canonical),
    "articles", "1", KEY.canonical, 10, "a", ("staff",), deleted=False, chunks=(ONE,), title="T", url=None,
    position="0/1", committed_at=1, fingerprint="f",
)  # fmt: skip
SCOPE = Scope("a", frozenset({"staff", "other"}))
RENDER = Renderer(
    "articles",
    DocumentSettings(
        table="shop.public.articles", text="{{ body }}", where="published", tenant="tenant", acl="groups"
    ),
).render
COLUMNS: dict[str, Json] = {"id": 1, "body": "text", "published": True, "tenant": "a", "groups": ["staff"]}
ROW = StateRow(KEY, 10, COLUMNS)


def joined(
    row: StateRow | None, *, progress: int = 10, waited: bool = False, manifest: Manifest = MANIFEST
) -> Verdict:
    return current(
        manifest, row, SCOPE, RENDER, caught_up=lambda version: progress >= version, waited=waited
    ).verdict


def test_a_listed_chunk_of_the_callers_own_counts() -> None:
    assert listed(ONE, 10, MANIFEST, SCOPE) is Verdict.CITED


def test_an_unlisted_chunk_is_on_its_way_or_replaced() -> None:
    assert listed(TWO, 11, MANIFEST, SCOPE) is Verdict.UNLISTED
    assert listed(TWO, 10, MANIFEST, SCOPE) is Verdict.REPLACED
    assert listed(TWO, 9, None, SCOPE) is Verdict.NO_MANIFEST


@pytest.mark.parametrize(
    "scope", [Scope("b", frozenset({"staff"})), Scope(None, frozenset({"staff"})), Scope("a"), Scope("A")]
)
def test_tenant_and_groups_are_checked_whatever_the_index_found(scope: Scope) -> None:
    assert listed(ONE, 10, MANIFEST, scope) is Verdict.FOREIGN
    assert shown(MANIFEST, scope) is Verdict.FOREIGN


def test_no_groups_means_everybody_and_an_empty_list_nobody() -> None:
    assert shown(replace(MANIFEST, groups=None), Scope("a")) is Verdict.CITED
    assert shown(replace(MANIFEST, groups=()), SCOPE) is Verdict.FOREIGN


def test_a_removed_document_is_gone_before_anything_else_is_asked() -> None:
    assert shown(replace(MANIFEST, deleted=True), Scope("b")) is Verdict.REMOVED


def test_the_row_of_the_manifest_is_cited_with_it() -> None:
    assert current(
        MANIFEST, ROW, SCOPE, RENDER, caught_up=lambda _: False, waited=False
    ) == Joined(Verdict.CITED, ROW)  # fmt: skip


def test_a_grave_drops_at_once() -> None:
    assert joined(replace(ROW, version=11, deleted=True), progress=0) is Verdict.DELETED
    assert joined(replace(ROW, deleted=True)) is Verdict.DELETED


def test_no_row_waits_for_the_view_and_then_is_dropped() -> None:
    assert joined(None, progress=9) is Verdict.BEHIND
    assert joined(None, progress=9, waited=True) is Verdict.BEHIND
    assert not Verdict.BEHIND.counts
    assert joined(None, progress=10) is Verdict.NO_ROW


def test_an_older_row_waits_and_then_is_cited_with_the_newest_passage() -> None:
    older = replace(ROW, version=9)
    assert joined(older, progress=9) is Verdict.BEHIND
    assert joined(older, progress=9, waited=True) is Verdict.CITED
    # A grave below the manifest: written again since. Not cited on the word of the index alone.
    assert joined(replace(older, deleted=True), progress=9) is Verdict.BEHIND
    assert joined(replace(older, deleted=True), progress=9, waited=True) is Verdict.DELETED


@pytest.mark.parametrize(
    "change", [{"tenant": "b"}, {"groups": ["board"]}, {"published": False}, {"published": "maybe"}]
)
def test_an_older_row_that_was_not_the_callers_is_never_shown_beside_a_newer_passage(
    change: dict[str, Json],
) -> None:
    older = replace(ROW, version=9, columns={**COLUMNS, **change})
    assert joined(older, progress=9) is Verdict.BEHIND
    assert joined(older, progress=9, waited=True) is Verdict.WITHDRAWN
    assert joined(older, progress=10) is Verdict.WITHDRAWN


def test_a_newer_row_makes_the_passage_stale() -> None:
    assert joined(replace(ROW, version=11, columns={**COLUMNS, "body": "new"})) is Verdict.STALE


@pytest.mark.parametrize(
    "change",
    [{"published": False}, {"tenant": "b"}, {"groups": ["board"]}, {"groups": None}, {"published": "maybe"}],
)
def test_a_newer_row_that_is_no_longer_shown_drops_before_the_index_has_heard(
    change: dict[str, Json],
) -> None:
    assert joined(replace(ROW, version=11, columns={**COLUMNS, **change})) is Verdict.WITHDRAWN


def test_a_row_with_a_parked_change_is_stale() -> None:
    assert joined(replace(ROW, tainted=True)) is Verdict.STALE


def test_a_bug_in_rendering_is_not_hidden() -> None:
    def broken(_: StateRow) -> Change:
        raise KeyError("bug")

    def refused(_: StateRow) -> Change:
        raise ContractError("this row")

    newer = replace(ROW, version=11)
    with pytest.raises(KeyError):
        current(MANIFEST, newer, SCOPE, broken, caught_up=lambda _: True, waited=False)
    found = current(MANIFEST, newer, SCOPE, refused, caught_up=lambda _: True, waited=False)
    assert found.verdict is Verdict.WITHDRAWN
