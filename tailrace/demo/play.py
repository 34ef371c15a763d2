"""Plays the story against the running service, over HTTP, and judges each answer."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from core.errors import TransientError
from tailrace.demo.source import DemoSource
from tailrace.demo.story import Change, Step

VISIBLE_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.002
DOCUMENTS: Final = {"articles": "articles", "products": "products"}
PROFILE: Final = "support"


@dataclass(frozen=True, slots=True)
class Result:
    """One step as it went. `freshness_ms`: COMMIT returned to visible over HTTP; None without a change."""

    step: str
    question: str
    answer: str
    citations: tuple[str, ...]
    expected: str
    ok: bool
    wrong: tuple[str, ...]
    freshness_ms: float | None
    embedded: int
    reused: int


class Player:
    """Changes rows through the source, sees and asks only over HTTP."""

    def __init__(
        self, source: DemoSource, client: httpx2.AsyncClient, patience_seconds: float = VISIBLE_SECONDS
    ) -> None:
        self._source, self._client, self._patience = source, client, patience_seconds

    async def ready(self, progress: Callable[[int, int], None], within_seconds: float = 120.0) -> None:
        """Wait until the service says that it is ready. TransientError if it does not in time."""
        deadline = time.monotonic() + within_seconds
        while time.monotonic() < deadline:
            response = await self._client.get("/health/ready")
            said = response.json()
            found = said.get("progress") or {}
            progress(int(found.get("read", 0)), int(found.get("total", 0)))
            if response.status_code == httpx2.codes.OK:
                return
            await asyncio.sleep(0.1)
        raise TransientError(f"the service was not ready within {within_seconds:.0f} s: {said}")

    async def play(self, step: Step) -> Result:
        """Change, wait until the change can be seen, ask, judge."""
        before = await self._costs()
        freshness_ms, position = None, None
        if step.change is not None:
            seen = await self._seen(step.change)
            position = await self._commit(step.change)
            committed = time.perf_counter()
            await self._wait_for_change(step.change, seen)
            freshness_ms = (time.perf_counter() - committed) * 1000
        reply = await self._ask(step, position)
        costs = {name: value - before[name] for name, value in (await self._costs()).items()}
        answer = reply["choices"][0]["message"]["content"]
        cited = tuple(f"{c['document']}/{c['key']}" for c in reply["tailrace"]["citations"])
        wrong = judge(step, answer, cited, costs["embedded"], reply["tailrace"]["freshness"])
        return Result(
            step.name,
            step.question,
            answer,
            cited,
            expected(step),
            not wrong,
            tuple(wrong),
            None if freshness_ms is None else round(freshness_ms, 1),
            costs["embedded"],
            costs["reused"],
        )

    async def _commit(self, change: Change) -> str:
        if change.kind == "delete":
            return await self._source.delete(change.table, change.key)
        columns = change.edit(self._source.row(change.table, change.key))
        return await self._source.update(change.table, change.key, columns)

    async def _ask(self, step: Step, position: str | None) -> Any:
        extra: dict[str, Any] = {"state": dict(step.state)}
        if position is not None:
            extra["min_position"] = {self._source.name: position}
        response = await self._client.post(
            "/v1/chat/completions",
            json={
                "model": PROFILE,
                "messages": [{"role": "user", "content": step.question}],
                "tailrace": extra,
            },
        )
        return response.raise_for_status().json()

    async def _seen(self, change: Change) -> Any:
        """What the service says of the changed row; None for nothing."""
        if change.table in DOCUMENTS:
            response = await self._client.get(f"/v1/documents/{DOCUMENTS[change.table]}/{change.key}")
            return response.json()["manifest"]["version"] if response.is_success else None
        row = self._source.row(change.table, change.key)
        response = await self._client.get(f"/v1/state/orders_by_customer/{row['customer_id']}")
        rows = response.raise_for_status().json()["rows"]
        return next((found for found in rows if found["id"] == change.key), None)

    async def _wait_for_change(self, change: Change, seen: Any) -> None:
        deadline = time.monotonic() + self._patience
        while time.monotonic() < deadline:
            if await self._seen(change) != seen:
                return
            await asyncio.sleep(POLL_SECONDS)
        # Not raised: the answer that follows is judged, and will be wrong.

    async def _costs(self) -> dict[str, int]:
        """Embeddings paid and vectors reused so far, as `/metrics` counts them."""
        text = (await self._client.get("/metrics")).raise_for_status().text
        found = {"embedded": 0.0, "reused": 0.0}
        names = {"tailrace_embedded_chunks_total": "embedded", "tailrace_reused_vectors_total": "reused"}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name in names:
                    found[names[sample.name]] += sample.value
        return {name: int(value) for name, value in found.items()}


def judge(
    step: Step, answer: str, cited: tuple[str, ...], embedded: int, freshness: Mapping[str, Any]
) -> list[str]:
    """What is wrong with an answer; nothing for a right one. Pure."""
    wrong = [f"does not say {text!r}" for text in step.says if text not in answer]
    wrong += [f"says {text!r}" for text in step.silent if text in answer]
    if step.cites is not None and step.cites not in cited:
        wrong.append(f"does not cite {step.cites}")
    if step.unknown and ("not know" not in answer or cited):
        wrong.append("does not say that it does not know")
    if step.embeds is not None and not step.embeds[0] <= embedded <= step.embeds[1]:
        wrong.append(f"cost {embedded} embeddings, not {step.embeds[0]} to {step.embeds[1]}")
    if step.change is not None and freshness["reached_min_position"] is not True:
        wrong.append("was given before the change was covered")
    return wrong


def expected(step: Step) -> str:
    """What a right answer does, in words."""
    parts = [f"says {', '.join(map(repr, step.says))}"] if step.says else []
    if step.unknown:
        parts.append("does not know")
    if step.silent:
        parts.append(f"does not say {', '.join(map(repr, step.silent))}")
    if step.cites:
        parts.append(f"cites {step.cites}")
    return "; ".join(parts)
