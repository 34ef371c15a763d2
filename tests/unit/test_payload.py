"""Payload codecs: what goes in comes out, newer formats are refused, tokens never collide."""

import json
from dataclasses import replace
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigurationError
from core.state import Json
from embed import payload as codec
from embed.model import Chunk, ChunkPoint, Covered, Manifest, Scope, Sparse

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VERSION = st.integers(0, 2**53 - 1)
SCALAR: st.SearchStrategy[Json] = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
JSON: st.SearchStrategy[Json] = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)
GROUPS = st.none() | st.lists(TEXT, max_size=3).map(tuple)
MANIFESTS = st.builds(
    Manifest,
    id=st.uuids(),
    document=TEXT,
    key=TEXT,
    canonical=st.binary(max_size=20),
    version=VERSION,
    tenant=st.none() | TEXT,
    groups=GROUPS,
    deleted=st.booleans(),
    chunks=st.lists(st.uuids(), max_size=4).map(tuple),
    title=TEXT,
    url=st.none() | TEXT,
    position=TEXT,
    committed_at=st.integers(0, 2**53),
    fingerprint=TEXT,
)
MARKS = st.builds(
    Covered, TEXT, st.integers(0, 99), st.integers(0, 2**40), VERSION, TEXT, st.integers(0, 2**53)
)
CHUNKS = st.builds(
    ChunkPoint,
    st.builds(Chunk, st.uuids(), TEXT),
    st.uuids(),
    TEXT,
    TEXT,
    st.none() | TEXT,
    GROUPS,
    st.dictionaries(TEXT, JSON, max_size=3),
    VERSION,
    st.just(np.ones(2, np.float32)),
    st.just(Sparse((), ())),
)
quick = settings(max_examples=60, deadline=None)


def stored(payload: codec.Payload) -> codec.Payload:
    """As a store gives it back: through JSON."""
    loaded: codec.Payload = json.loads(json.dumps(payload))
    return loaded


@quick
@given(MANIFESTS)
def test_manifests_come_back(manifest: Manifest) -> None:
    assert codec.manifest_of(manifest.id, stored(codec.manifest_payload(manifest))) == manifest


@quick
@given(MARKS)
def test_marks_come_back(mark: Covered) -> None:
    assert codec.mark_of(uuid4(), stored(codec.mark_payload(mark))) == mark


@quick
@given(CHUNKS)
def test_chunks_come_back(point: ChunkPoint) -> None:
    payload = stored(codec.chunk_payload(point))
    read = codec.stored_chunk(point.chunk.id, {field: payload[field] for field in codec.CHUNK_FIELDS})
    assert (read.id, read.manifest, read.text) == (point.chunk.id, point.manifest, point.chunk.text)
    assert (read.key, read.version) == (point.key, point.version)
    assert dict(read.metadata) == dict(point.metadata)


def test_a_chunk_from_before_manifests_were_named_is_of_no_row() -> None:
    old = {"format": 1, "kind": "chunk", "key": "1", "text": "t", "version": 3, "metadata": "{}"}
    assert codec.stored_chunk(uuid4(), old).manifest == UUID(int=0)


@quick
@given(CHUNKS)
def test_no_column_moves_what_a_search_filters_by(point: ChunkPoint) -> None:
    bare, full = (codec.chunk_payload(p) for p in (replace(point, metadata={}), point))
    assert {key for key in full if full[key] != bare[key]} <= {"metadata", "facets"}


TENANT = st.none() | TEXT


@quick
@given(TENANT, GROUPS, TENANT, st.frozensets(TEXT, max_size=3), st.booleans())
def test_a_reader_has_the_tenant_and_where_needed_a_group(
    tenant: str | None,
    groups: tuple[str, ...] | None,
    other: str | None,
    mine: frozenset[str],
    same: bool,
) -> None:
    scope = Scope(tenant if same else other, mine)
    seen = not set(codec.reader_tokens(tenant, groups)).isdisjoint(codec.scope_tokens(scope))
    assert seen is (tenant == scope.tenant and (groups is None or not mine.isdisjoint(groups)))


@quick
@given(TEXT, SCALAR, TEXT, SCALAR)
def test_facets_match_the_same_column_and_value_only(a: str, x: Json, b: str, y: Json) -> None:
    seen = codec.facet_tokens({a: x}) == codec.filter_tokens({b: [y]})[0]
    assert seen is (a == b and isinstance(x, bool) == isinstance(y, bool) and x == y)


def test_a_newer_format_is_refused_by_name() -> None:
    point = UUID(int=7)
    for read in (codec.manifest_of, codec.mark_of, codec.stored_chunk):
        with pytest.raises(ConfigurationError, match=r"00000007 has format 2.*newer"):
            read(point, {"format": 2, "kind": "whatever"})
        for foreign in ({}, {"format": "x"}, {"format": 1, "kind": "other"}):
            with pytest.raises(ConfigurationError, match="that Tailrace wrote"):
                read(point, foreign)


def test_kinds_do_not_stand_for_each_other() -> None:
    mark = codec.mark_payload(Covered("t", 0, 1, 1, "", 0))
    with pytest.raises(ConfigurationError, match="no manifest or grave"):
        codec.manifest_of(uuid4(), mark)


def test_ids_of_marks_differ_by_topic_and_partition() -> None:
    assert len({codec.mark_id(topic, n) for topic in ("t", "t1", "") for n in (0, 1, 11)}) == 9


def test_next_id_is_the_least_above() -> None:
    assert codec.next_id(None) == UUID(int=0)
    assert codec.next_id(UUID(int=5)) == UUID(int=6)
    assert codec.next_id(UUID(int=2**128 - 1)) is None


def test_unit_checks_the_shape_and_scales() -> None:
    np.testing.assert_allclose(codec.unit(np.asarray([3, 4], np.float32), 2, "g1"), [0.6, 0.8], rtol=1e-6)
    for wrong in (np.ones(3, np.float32), np.ones((1, 2), np.float32)):
        with pytest.raises(ConfigurationError, match=r"g1 .*2 dimensions"):
            codec.unit(wrong, 2, "g1")
