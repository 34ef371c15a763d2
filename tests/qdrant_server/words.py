"""Qdrant's JSON as Edge's objects and back. What the test server does not know is refused, never guessed."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import qdrant_edge as edge

Tree = Mapping[str, Any]

_MODES: Final = {
    "upsert": edge.UpdateMode.Upsert,
    "insert_only": edge.UpdateMode.InsertOnly,
    "update_only": edge.UpdateMode.UpdateOnly,
}
_MODIFIERS: Final = {"idf": edge.Modifier.Idf, None: None}
_DISTANCES: Final = {
    "Cosine": edge.Distance.Cosine,
    "Dot": edge.Distance.Dot,
    "Euclid": edge.Distance.Euclid,
    "Manhattan": edge.Distance.Manhattan,
}


class BadRequestError(Exception):
    """Answered with 400."""


def configuration(body: Tree) -> edge.EdgeConfig:
    """Of a new collection; named vectors only."""
    only(body, "vectors", "sparse_vectors")
    return edge.EdgeConfig(
        vectors={
            name: edge.EdgeVectorParams(size=one["size"], distance=_DISTANCES[one["distance"]])
            for name, one in body["vectors"].items()
        },
        sparse_vectors={
            name: edge.EdgeSparseVectorParams(modifier=_MODIFIERS[one.get("modifier")])
            for name, one in (body.get("sparse_vectors") or {}).items()
        },
    )


def field_index(body: Tree) -> edge.UpdateOperation:
    only(body, "field_name", "field_schema")
    schema = body["field_schema"]
    made: edge.KeywordIndexParams | edge.IntegerIndexParams
    if schema["type"] == "keyword":
        only(schema, "type", "is_tenant")
        made = edge.KeywordIndexParams(is_tenant=schema.get("is_tenant"))
    elif schema["type"] == "integer":
        only(schema, "type", "lookup", "range")
        made = edge.IntegerIndexParams(lookup=schema.get("lookup"), range=schema.get("range"))
    else:
        raise BadRequestError(f"an index of type {schema['type']}")
    return edge.UpdateOperation.create_field_index(body["field_name"], made)


def update(operation: Tree) -> edge.UpdateOperation:
    """One operation of a batch."""
    (kind, body), *more = operation.items()
    if more:
        raise BadRequestError(f"an operation with {[*operation]}")
    if kind == "upsert":
        only(body, "points", "update_filter", "update_mode")
        return edge.UpdateOperation.upsert_points(
            [_point(one) for one in body["points"]],
            condition=where(body.get("update_filter")),
            update_mode=_MODES[body.get("update_mode") or "upsert"],
        )
    if kind == "delete":
        only(body, "points", "filter")
        if "points" in body:
            return edge.UpdateOperation.delete_points(ids(body["points"]))
        return edge.UpdateOperation.delete_points_by_filter(where(body["filter"]) or edge.Filter())
    raise BadRequestError(f"the operation {kind}")


def query(body: Tree) -> edge.QueryRequest:
    """Nearest points to one vector."""
    only(body, "query", "using", "filter", "params", "limit", "with_vector", "with_payload")
    asked = body["query"]
    nearest = asked["nearest"] if isinstance(asked, Mapping) and "nearest" in asked else asked
    vector = (
        edge.SparseVector(nearest["indices"], nearest["values"]) if isinstance(nearest, Mapping) else nearest
    )
    return edge.QueryRequest(
        limit=body.get("limit", 10),
        query=edge.Query.Nearest(vector, using=body["using"]),
        filter=where(body.get("filter")),
        params=_parameters(body.get("params")),
        with_payload=body.get("with_payload", False),
        with_vector=body.get("with_vector", False),
    )


def scroll(body: Tree) -> edge.ScrollRequest:
    only(body, "offset", "limit", "filter", "with_vector", "with_payload")
    return edge.ScrollRequest(
        offset=_id(body["offset"]) if body.get("offset") is not None else None,
        limit=body.get("limit", 10),
        filter=where(body.get("filter")),
        with_payload=body.get("with_payload", True),
        with_vector=body.get("with_vector", False),
    )


def where(body: Tree | None) -> edge.Filter | None:
    if body is None:
        return None
    only(body, "must", "should")
    must, should = ([_condition(one) for one in body.get(key) or []] for key in ("must", "should"))
    return edge.Filter(must=must, should=should or None)


def found(points: list[Any]) -> list[dict[str, Any]]:
    """Records, or scored points, as JSON."""
    return [
        {
            "id": str(one.id),
            "payload": one.payload,
            "vector": one.vector,
            **({"score": one.score, "version": one.version} if hasattr(one, "score") else {}),
        }
        for one in points
    ]


def ids(found: list[Any]) -> list[int | UUID | str]:
    return [_id(one) for one in found]


def only(body: Tree, *known: str) -> None:
    unknown = body.keys() - {*known}
    if unknown:
        raise BadRequestError(f"{sorted(unknown)} is not known here")


def _point(body: Tree) -> edge.Point:
    only(body, "id", "vector", "payload")
    vectors = {
        name: edge.SparseVector(one["indices"], one["values"]) if isinstance(one, Mapping) else one
        for name, one in body["vector"].items()
    }
    return edge.Point(_id(body["id"]), vectors, dict(body.get("payload") or {}))


def _id(found: int | str) -> int | UUID:
    return found if isinstance(found, int) else UUID(found)


def _condition(body: Tree) -> Any:
    if "must" in body or "should" in body:
        return where(body)
    if "has_id" in body:
        only(body, "has_id")
        return edge.HasIdCondition({*ids(body["has_id"])})
    only(body, "key", "match", "range")
    if "range" in body:
        only(body["range"], "lt", "lte", "gt", "gte")
        return edge.FieldCondition(key=body["key"], range=edge.RangeFloat(**body["range"]))
    match = body["match"]
    only(match, "value", "any")
    made = edge.MatchValue(match["value"]) if "value" in match else edge.MatchAny(match["any"])
    return edge.FieldCondition(key=body["key"], match=made)


def _parameters(body: Tree | None) -> edge.SearchParams | None:
    if body is None:
        return None
    only(body, "idf", "exact")
    idf = body.get("idf")
    corpus = None if idf is None else edge.IdfParams(corpus=where(idf.get("corpus")))
    return edge.SearchParams(idf=corpus, exact=body.get("exact", False))
