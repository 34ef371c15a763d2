"""The read join: whether a passage that a search found may be cited. Pure.

A search's own filter is never trusted alone: tenant and groups are checked again against the
manifest and, where the row is another version than the passage, against the row as the view has it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias
from uuid import UUID

from core.errors import PermanentError
from core.keys import TableId
from core.state import StateRow
from embed.model import Change, Document, Manifest, Scope

Render: TypeAlias = Callable[[StateRow], Change]
"""What a row says now, as the index agent would render it. PermanentError if nothing can be made of it."""

RowOf: TypeAlias = Callable[[TableId, bytes], StateRow | None]
"""The newest row of a table's key, grave or live."""

Covers: TypeAlias = Callable[[TableId, int], bool]
"""The view holds every change of a table up to a version."""


class Verdict(Enum):
    """What becomes of a candidate. The values are the reasons in metrics and explanations."""

    CITED = "cited"
    STALE = "stale"
    """May be cited; the row has changed since."""

    NO_MANIFEST = "no_manifest"
    """Its document is being written for the first time, or was left behind by a crash."""
    UNLISTED = "unlisted"
    """Not part of its document: newer than the manifest, so its own is on the way."""
    REPLACED = "replaced"
    """No longer part of its document: the search may have missed what took its place."""
    REMOVED = "removed"
    """The index says that the document is gone."""
    FOREIGN = "foreign"
    """Another tenant's, or of groups that the caller is not in."""
    DELETED = "deleted"
    """The row is gone at the source, the index has not heard of it yet."""
    WITHDRAWN = "withdrawn"
    """The row as the view has it is no document, is not this caller's, or cannot be rendered."""
    NO_ROW = "no_row"
    """There is no such row, although the view has everything up to the manifest's version."""
    BEHIND = "behind"
    """The view has not reached the manifest's version: worth a short wait, then dropped."""

    @property
    def counts(self) -> bool:
        """May be cited."""
        return self in (Verdict.CITED, Verdict.STALE)


@dataclass(frozen=True, slots=True)
class Joined:
    """A verdict, and the latest row where there is one."""

    verdict: Verdict
    row: StateRow | None = None


def shown(manifest: Manifest | None, scope: Scope) -> Verdict:
    """What the index alone says of a document: CITED if this caller may see it."""
    if manifest is None:
        return Verdict.NO_MANIFEST
    if manifest.deleted:
        return Verdict.REMOVED
    return Verdict.CITED if visible(manifest.tenant, manifest.groups, scope) else Verdict.FOREIGN


def listed(chunk: UUID, version: int, manifest: Manifest | None, scope: Scope) -> Verdict:
    """What the index alone says of a chunk of this version: CITED if its manifest lists it."""
    found = shown(manifest, scope)
    if manifest is not None and found.counts and chunk not in manifest.chunks:
        return Verdict.UNLISTED if version > manifest.version else Verdict.REPLACED
    return found


def current(
    manifest: Manifest,
    row: StateRow | None,
    scope: Scope,
    render: Render,
    *,
    caught_up: Callable[[int], bool],
    waited: bool,
) -> Joined:
    """What the latest row says of a document that the index shows to this caller.

    `caught_up(version)`: the view holds everything of this table up to it. `waited`: the time for
    waiting is over. A row older than its manifest is then as good as the view can give, and is cited
    if this caller might have read it too: the manifest speaks for the passage only.
    """
    if row is None:
        return Joined(Verdict.NO_ROW if caught_up(manifest.version) else Verdict.BEHIND)
    if row.version < manifest.version and not (waited or caught_up(manifest.version)):
        return Joined(Verdict.BEHIND)
    if row.deleted:
        return Joined(Verdict.DELETED)
    if row.version != manifest.version and not _shown(row, scope, render):
        return Joined(Verdict.WITHDRAWN)
    stale = row.tainted or row.version > manifest.version
    return Joined(Verdict.STALE if stale else Verdict.CITED, row)


def visible(tenant: str | None, groups: tuple[str, ...] | None, scope: Scope) -> bool:
    """Whether this caller may read what carries this tenant and these groups."""
    return tenant == scope.tenant and (groups is None or not scope.groups.isdisjoint(groups))


def _shown(row: StateRow, scope: Scope, render: Render) -> bool:
    try:
        now = render(row)
    except PermanentError:
        return False
    return isinstance(now, Document) and visible(now.tenant, now.groups, scope)


def once(render: Render) -> Render:
    """The same, made once of each version of a row: for one request, which judges every passage by itself.

    It happens in the event loop, and a row may be long.
    """
    made: dict[tuple[bytes, int], Change | PermanentError] = {}

    def remembered(row: StateRow) -> Change:
        at = row.key.canonical, row.version
        if at not in made:
            try:
                made[at] = render(row)
            except PermanentError as error:
                made[at] = error
        found = made[at]
        if isinstance(found, PermanentError):
            raise found
        return found

    return remembered


class Judge:
    """The join with the view that it asks."""

    def __init__(self, row: RowOf, covers: Covers) -> None:
        self._row, self._covers = row, covers

    def judge(
        self, table: TableId, render: Render, manifest: Manifest | None, scope: Scope, *, waited: bool
    ) -> Joined:
        """Index and row together, of one document as its generation makes it. Never waits."""
        verdict = shown(manifest, scope)
        if manifest is None or not verdict.counts:
            return Joined(verdict)
        return current(
            manifest,
            self._row(table, manifest.canonical),
            scope,
            render,
            caught_up=lambda version: self._covers(table, version),
            waited=waited,
        )
