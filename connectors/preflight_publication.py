"""Whether a Postgres publication sends all that is to be captured. Pure."""

from collections.abc import Iterator
from typing import Final

from connectors.checks import Check
from connectors.postgres_facts import Facts, Publication, Wanted

_PUBLISHED: Final = ("insert", "update", "delete", "truncate")
_TITLE: Final = "publication"


def publication_checks(facts: Facts, wanted: Wanted) -> list[Check]:
    """Every verdict, in the order in which to mend them."""
    publication = facts.publication
    if publication is None:
        return [_missing(facts, wanted)]
    checks = [
        *_tables(facts, publication, wanted),
        *_operations(publication),
        *_filters(publication, wanted),
        *_columns(facts, publication, wanted),
        *_partitions(facts, publication, wanted),
    ]
    if publication.all_tables:
        what = f"{publication.name} is FOR ALL TABLES: a new table without a key loses UPDATE and DELETE"
        checks.append(Check(_TITLE, "warn", what, "make one that lists its tables"))
    return checks or [Check(_TITLE, "ok", f"{publication.name} has all tables and operations")]


def _beat(facts: Facts, wanted: Wanted) -> set[str]:
    """The heartbeat's table under its whole name, as far as that is known."""
    found = facts.heartbeat.name if facts.heartbeat is not None else wanted.heartbeat_table
    return {found} if found is not None and "." in found else set()


def _missing(facts: Facts, wanted: Wanted) -> Check:
    # A publication names tables that exist; the signal table is wanted by snapshots only.
    signal = wanted.signal_table
    needed = {*wanted.tables, *_beat(facts, wanted)}
    needed |= {signal} if signal is not None and signal in facts.tables else set()
    fix = (
        f"CREATE PUBLICATION {wanted.publication} FOR TABLE {', '.join(sorted(needed))}"
        " WITH (publish_via_partition_root = true)"
    )
    if wanted.autocreate in {"filtered", "all_tables"}:
        what = (
            f"{wanted.publication} does not exist yet: the connector makes it, if its role may"
            f" (publication.autocreate.mode={wanted.autocreate})"
        )
        return Check(_TITLE, "warn", what, f"or make it beforehand: {fix}")
    return Check(_TITLE, "fail", f"{wanted.publication} does not exist: nothing would come", fix)


def _tables(facts: Facts, publication: Publication, wanted: Wanted) -> Iterator[Check]:
    add = f"ALTER PUBLICATION {publication.name} ADD TABLE"
    if missing := sorted({*wanted.tables} - publication.tables):
        said = f"{publication.name} lacks {', '.join(missing)}"
        if wanted.autocreate == "filtered":
            what = f"{said}: the connector adds them at its start, if its role may"
            yield Check(_TITLE, "warn", what, f"or {add} {', '.join(missing)}")
        else:
            what = f"{said}: their changes would never come"
            yield Check(_TITLE, "fail", what, f"{add} {', '.join(missing)}")
    for beat in _beat(facts, wanted) - publication.tables - set(wanted.tables):
        what = (
            f"{publication.name} lacks {beat}: on an idle database no heartbeat comes, and the slot holds WAL"
        )
        yield Check(_TITLE, "warn", what, f"{add} {beat}")


def _operations(publication: Publication) -> Iterator[Check]:
    if unpublished := [what for what in _PUBLISHED if what not in publication.publishes]:
        fix = f"ALTER PUBLICATION {publication.name} SET (publish = '{', '.join(_PUBLISHED)}')"
        yield Check(_TITLE, "fail", f"{publication.name} leaves out {', '.join(unpublished)}", fix)


def _filters(publication: Publication, wanted: Wanted) -> Iterator[Check]:
    for name in wanted.tables:
        if (condition := publication.filters.get(name)) is not None:
            what = (
                f"{publication.name} sends rows of {name} only where {condition}: the snapshot reads all"
                " rows, and a change of the others never comes"
            )
            fix = f"{_whole(publication, name)}; leave rows out by `where` of the document"
            yield Check(_TITLE, "fail", what, fix)


def _columns(facts: Facts, publication: Publication, wanted: Wanted) -> Iterator[Check]:
    for name in wanted.tables:
        table, listed = facts.tables.get(name), publication.columns.get(name)
        if table is None or listed is None:
            continue
        left = [column.name for column in table.columns if not column.generated and column.name not in listed]
        used = [column for column in left if column in wanted.columns.get(name, frozenset())]
        if used:
            what = (
                f"{publication.name} leaves out {', '.join(used)} of {name}, which the configuration uses:"
                " it is in snapshots and not in the changes that follow"
            )
            yield Check(_TITLE, "fail", what, _whole(publication, name))
        elif left:
            what = (
                f"{publication.name} leaves out {', '.join(left)} of {name}: in snapshots, not in the changes"
            )
            fix = f"name them in column.exclude.list too, or {_whole(publication, name)}"
            yield Check(_TITLE, "warn", what, fix)


def _partitions(facts: Facts, publication: Publication, wanted: Wanted) -> Iterator[Check]:
    partitioned = [name for name in wanted.tables if name in facts.tables and facts.tables[name].partitioned]
    if partitioned and not publication.via_root:
        fix = f"ALTER PUBLICATION {publication.name} SET (publish_via_partition_root = true)"
        what = f"{', '.join(partitioned)} would come as one topic for each partition"
        yield Check(_TITLE, "fail", what, fix)


def _whole(publication: Publication, table: str) -> str:
    if publication.all_tables:
        return "make a publication that lists whole tables"
    alter = f"ALTER PUBLICATION {publication.name}"
    return f"{alter} DROP TABLE {table}; {alter} ADD TABLE {table}"
