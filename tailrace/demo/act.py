"""The last act: the articles are cut finer, into a new index beside the one that answers.

It is built, compared, takes over, and hands back, while questions go on being asked.
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import httpx2
from pydantic import TypeAdapter

from core.errors import TransientError
from core.settings import KafkaLog, Settings
from ingest.generations import Generation, Pointer
from retrieve.compare import Comparison
from tailrace.demo.play import PROFILE, Player, Result
from tailrace.demo.story import AGAIN, Step
from tailrace.reindex import decide
from tailrace.reindex.control import Control, configured
from tailrace.reindex.decide import PaceWish
from tailrace.reindex.planning import ReindexPlan, plan_reindex

DOCUMENT: Final = "articles"
FINER: Final = {"max_tokens": 120}
BUILT_SECONDS: Final = 120.0
MOVED_SECONDS: Final = 20.0
LOOK_SECONDS: Final = 0.1
TOP_K: Final = 5

_COMPARISON: Final = TypeAdapter(Comparison)

Say: TypeAlias = Callable[[str], None]
Shown: TypeAlias = Callable[[Step, Result], None]


@dataclass(slots=True)
class Reindexed:
    """What the act found. `wrong`: what was not as it should be, in words."""

    plan: dict[str, Any] = field(default_factory=dict)
    built: dict[str, Any] = field(default_factory=dict)
    compared: dict[str, Any] = field(default_factory=dict)
    promoted_ms: int | None = None
    rolled_back_ms: int | None = None
    asked_meanwhile: int = 0
    wrong: list[str] = field(default_factory=list)


class Act:
    """Plays it once, against the service over HTTP and the log that both share."""

    def __init__(
        self, settings: Settings, brokers: list[str], client: httpx2.AsyncClient, *, say: Say, shown: Shown
    ) -> None:
        cut = settings.documents[DOCUMENT].cut.model_copy(update=FINER)
        section = settings.documents[DOCUMENT].model_copy(update={"cut": cut})
        # As if somebody had edited tailrace.yaml; and the log of this process, as any Kafka.
        self._edited = settings.model_copy(
            update={
                "documents": {**settings.documents, DOCUMENT: section},
                "log": KafkaLog(brokers=brokers),
            }
        )
        self._client, self._say, self._shown = client, say, shown
        self.found = Reindexed()

    async def play(self, player: Player) -> None:
        """Shows a result for each answer that is asked for. Raises TransientError if it takes too long."""
        asking = asyncio.create_task(self._keep_asking(), name="questions")
        try:
            self._planned(await plan_reindex(self._edited, DOCUMENT))
            frozen = await asyncio.to_thread(configured, self._edited, DOCUMENT)
            async with Control(self._edited) as control:
                step = await control.start(DOCUMENT, frozen, pace=PaceWish(), force=False, displace=False)
                await self._built(control, step.generation)
                self._compared(await self._compare(step.generation.number))
                promoted = decide.promotion(control.registry, DOCUMENT, control.now())
                self.found.promoted_ms = await self._moved(control, promoted, "answers")
                await self._asked(player, AGAIN[0], promoted.live)
                back = decide.rollback(control.registry, DOCUMENT, control.now())
                self.found.rolled_back_ms = await self._moved(control, back, "answers again")
                await self._asked(player, AGAIN[1], back.live)
                await control.drop(DOCUMENT, promoted.live)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        self._say(f"{self.found.asked_meanwhile} searches went on meanwhile")

    async def _keep_asking(self) -> None:
        """Any answer that is missing, empty or an error is noted: nothing may be seen of all this."""
        body = {"query": AGAIN[0].question, "profile": PROFILE, "top_k": TOP_K}
        while True:
            response = await self._client.post("/v1/search", json=body)
            hits = response.json()["hits"] if response.is_success else []
            if not hits:
                self.found.wrong.append(f"a search meanwhile got {response.status_code} and no passage")
            self.found.asked_meanwhile += 1
            await asyncio.sleep(LOOK_SECONDS)

    def _planned(self, plan: ReindexPlan) -> None:
        estimate = plan.estimate
        if estimate is None:
            raise ValueError("the act changes nothing")
        self.found.plan = {
            "meaning": plan.meaning,
            "changes": {one.name: [one.old, one.new] for one in plan.changes},
            "chunks": round(estimate.chunks.value),
            "texts_to_embed": round(estimate.texts.value),
            "seconds": None if plan.seconds is None else round(plan.seconds.value, 1),
        }
        named = ", ".join(f"{one.name} {one.old} → {one.new}" for one in plan.changes)
        self._say(
            f"plan: {named}; {self.found.plan['chunks']} chunks, {self.found.plan['texts_to_embed']} of them"
            " to embed"
        )

    async def _built(self, control: Control, generation: Generation) -> None:
        began = time.monotonic()
        while True:
            [found] = await control.look([generation])
            if found.lag == 0 and found.documents is not None:
                break
            if time.monotonic() - began > BUILT_SECONDS:
                raise TransientError(
                    f"generation {generation.number} is {found.lag} records behind after"
                    f" {BUILT_SECONDS:.0f} s: {found.waiting or 'no worker says why'}"
                )
            await asyncio.sleep(LOOK_SECONDS)
        self.found.built = {
            "generation": generation.number,
            "seconds": round(time.monotonic() - began, 1),
            "documents": found.documents,
            "chunks": found.chunks,
            "embedded": found.embedded,
            "reused": found.reused,
        }
        self._say(
            f"start: generation {generation.number} is built beside the one that answers:"
            f" {found.documents} documents, {found.embedded} chunks embedded, {found.reused} reused,"
            f" {self.found.built['seconds']} s"
        )

    async def _compare(self, number: int) -> Comparison:
        questions = [
            {"query": step.question, "expected": [step.cites.partition("/")[2]]}
            for step in AGAIN
            if step.cites is not None
        ]
        body = {"number": number, "top_k": TOP_K, "questions": questions}
        response = await self._client.post(f"/v1/generations/{DOCUMENT}/compare", json=body)
        for line in response.raise_for_status().text.splitlines():
            said = json.loads(line)
            if "result" in said:
                return _COMPARISON.validate_python(said["result"])
        raise TransientError("the comparison ended without a result")

    def _compared(self, found: Comparison) -> None:
        refused = decide.gate(
            self._edited.reindex,
            missing=found.missing.count,
            different=found.different.count,
            overlap=found.overlap,
            recall=found.candidate.recall,
        )
        self.found.wrong += refused
        self.found.compared = {
            "documents": [found.live.size.documents, found.candidate.size.documents],
            "chunks": [found.live.size.chunks, found.candidate.size.chunks],
            "missing": found.missing.count,
            "different": found.different.count,
            "recall": [found.live.recall, found.candidate.recall],
        }
        self._say(
            f"compare: {found.live.size.documents} and {found.candidate.size.documents} documents,"
            f" {found.missing.count} missing, {found.different.count} different;"
            f" {found.live.size.chunks} chunks before,"
            f" {found.candidate.size.chunks} now"
        )

    async def _moved(self, control: Control, pointer: Pointer, what: str) -> int:
        moved = await control.move(pointer, MOVED_SECONDS)
        self._say(f"generation {pointer.live} {what}, {moved.milliseconds} ms after the command")
        return moved.milliseconds

    async def _asked(self, player: Player, step: Step, number: int) -> None:
        response = await self._client.get("/v1/generations")
        answering = [
            one["number"]
            for one in response.raise_for_status().json()["data"]
            if one["document"] == DOCUMENT and one["answers"]
        ]
        if answering != [number]:
            self.found.wrong.append(f"generation {answering} answers, not {number}")
        self._shown(step, await player.play(step))
