from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from embed.model import Change, Document, Manifest, Removal
from embed.plan import desired, manifest, plan

PIECES = st.lists(st.sampled_from("abcde"), max_size=6)
STATES = st.tuples(st.integers(0, 3), st.one_of(st.none(), PIECES), st.sampled_from(["en", "de"]))


def change(version: int, pieces: list[str] | None, lang: str) -> Change:
    if pieces is None:
        return Removal("d", "1", b"k1", version, None, "", 0)
    return Document("d", "1", b"k1", version, "", "", None, None, None, {"lang": lang}, "", 0)


def stored(version: int, pieces: list[str] | None, lang: str, fingerprint: str) -> Manifest:
    made = change(version, pieces, lang)
    return manifest(made, desired(made, pieces or []) if isinstance(made, Document) else (), fingerprint)


@given(st.one_of(st.none(), STATES), STATES, st.sampled_from(["f1", "f2"]), st.booleans())
def test_a_plan_reaches_the_desired_state_from_any(
    before: tuple[int, list[str] | None, str] | None,
    after: tuple[int, list[str] | None, str],
    fingerprint: str,
    rewrite: bool,
) -> None:
    old = None if before is None else stored(*before, "f1")
    wanted = change(*after)
    chunks = desired(wanted, after[1] or []) if isinstance(wanted, Document) else ()
    made = plan(old, wanted, chunks, fingerprint, rewrite=rewrite)
    if old is not None and old.version > wanted.version:
        assert (made.outcome, made.add, made.swap, made.drop) == ("superseded", (), None, None)
        return
    vectors = dict.fromkeys(old.chunks, old.fingerprint) if old else {}
    vectors |= {chunk.id: fingerprint for chunk in made.add}
    for one in made.drop.chunks if made.drop else ():
        del vectors[one]
    held = made.swap.manifest if made.swap else old
    assert held == manifest(wanted, chunks, fingerprint)
    assert vectors == {chunk.id: fingerprint for chunk in chunks}
    assert (made.outcome == "unchanged") is (made.swap is None)
    assert (made.swap is None) is (old == held and not made.add)
    if made.swap:
        assert made.swap.expect == (None if old is None else old.version)
    assert plan(held, wanted, chunks, fingerprint).outcome == "unchanged"


@given(PIECES, PIECES)
def test_equal_pieces_keep_their_chunks_wherever_they_move(one: list[str], other: list[str]) -> None:
    document = change(1, one, "en")
    assert isinstance(document, Document)
    first, second = desired(document, one), desired(replace(document, version=2), other)
    common = sum(min(one.count(piece), other.count(piece)) for piece in set(one))
    assert len({chunk.id for chunk in first} & {chunk.id for chunk in second}) == common
    assert len({chunk.id for chunk in first}) == len(one)
