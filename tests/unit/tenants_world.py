"""Three tenants with identical texts in one index, and questions that try to see across."""

import random
from collections.abc import Sequence

from core.state import Json
from embed.model import Scope
from tests.unit.retrieval_world import ARTICLES, EVERYBODY, ORDERS, PRODUCTS, World, article

LONG = " ".join(f"paragraph {n} talks of matter{n} and nothing else at all today." for n in range(12))
TENANTS = ("a", "b", "c")


def fill(world: World) -> None:
    chance = random.Random(7)  # noqa: S311 - repeatable
    for key in range(90):
        tenant = TENANTS[key % 3]
        body = f"Tents and boots, part {key // 3}. {LONG if key < 3 else ''}"
        groups: Json = ["all"] if key % 2 else ["board"]
        more: dict[str, Json] = {"category": chance.choice(["help", "news", 7, None])}
        world.commit(ARTICLES, key, article(body, tenant, groups=groups, **more))
        world.commit(PRODUCTS, f"p{key}", {"body": body, "tenant_id": tenant, "category": "help"})
        world.commit(ORDERS, key, {"customer_id": key // 3, "total": key, "status": "x", "tenant_id": tenant})
    world.settle()


async def foreign(world: World, questions: int) -> tuple[int, int]:
    """Hits and entries of other tenants or groups, and how many there were in all."""
    chance = random.Random(3)  # noqa: S311 - repeatable
    words = ["tents", "boots", "part", "matter3", "matter11", "tenant b", "a", '"b"', "tenant:b", "5", "*"]
    wrong = seen = 0
    for _ in range(questions):
        tenant = chance.choice(TENANTS)
        groups = chance.choice([frozenset[str](), EVERYBODY, frozenset({"board"}), frozenset({"all", "x"})])
        filters: dict[str, Sequence[Json]] = {}
        if chance.random() < 0.5:
            filters["category"] = chance.choices(["help", "news", 7, None, "b", "tenant:b"], k=2)
        found = await world.ask(
            " ".join(chance.choices(words, k=chance.randint(1, 4))),
            scope=Scope(tenant, groups),
            filters=filters,
            documents=chance.choice([("articles",), ("products",), ("articles", "products")]),
            state={"orders": str(chance.randrange(30))},
            top_k=chance.choice([1, 6, 40]),
        )
        for hit in found.hits:
            own = hit.row["tenant_id"] == tenant
            readable = hit.document == "products" or not groups.isdisjoint(hit.row["groups"])  # type: ignore[arg-type]
            wrong += not (own and readable)
        for row in found.state["orders"]:
            wrong += TENANTS[int(str(row["id"])) % 3] != tenant
        seen += len(found.hits) + len(found.state["orders"])
    return wrong, seen
