"""A question becomes an answer: retrieve, build the prompt within its budget, let the model write, check.

Without a model, or with one that is not asked for, the evidence is quoted instead. Everything that
can be refused is refused in `prepare`, before the first byte of an answer.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from core.errors import TailraceError
from core.metrics import ANSWERS
from core.telemetry import logger
from retrieve.model import Evidence, Hit
from serve.ask import Ask, question_of
from serve.budget import Parts, fit, newest
from serve.citations import Citation, Cited
from serve.errors import RequestError
from serve.extract import extract
from serve.llm import Finish, FinishReason, Llm
from serve.pages import with_pages
from serve.prompt import Message, Prompt, new_nonce
from serve.sanitiser import Sanitiser
from serve.services import Services
from serve.tokens import estimate, of_messages

log = logger(__name__)

CAPACITY: Final = 8192 - 512
"""Tokens of the prompt that `explain` shows for a profile without a model: the default model's."""


@dataclass(frozen=True, slots=True)
class Written:
    """A prompt as the model gets it."""

    messages: tuple[Message, ...]
    hits: tuple[Hit, ...]
    """The passages in it: the only ones that may be cited."""
    tokens: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that an answer may be made of. `written` is None where no model is asked."""

    ask: Ask
    evidence: Evidence | None
    llm: Llm | None
    written: Written | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of an answer. `text` is all of it, as shown.

    `error`: why it is only the beginning of one. `known` is False where it says that it does not know.
    """

    text: str
    citations: tuple[Citation, ...] = ()
    reason: FinishReason = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    known: bool = True
    error: TailraceError | None = None


class Chat:
    """One for the service; holds nothing of a request."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def retrieve(self, ask: Ask, *, explain: bool = False) -> Evidence:
        """Evidence alone. Raises RequestError, and as `Retrieval.retrieve`."""
        services = self._services
        profile = services.profile(ask.profile)
        question = question_of(ask, profile, services.settings, services.scope)
        return with_pages(await services.retrieval.retrieve(replace(question, explain=explain)))

    async def explain(self, ask: Ask) -> tuple[Evidence, Written]:
        """Evidence, and the prompt that a model would get."""
        profile = self._services.profile(ask.profile)
        evidence = await self.retrieve(ask, explain=True)
        llm = self._services.llm(profile)
        capacity = CAPACITY if llm is None else llm.context_tokens - llm.answer_tokens
        return evidence, await asyncio.to_thread(
            write, self._services.prompt(profile), ask, evidence, capacity
        )

    async def prepare(self, ask: Ask) -> Prepared:
        """Raises RequestError, LimitError for a question too long, and as `Retrieval.retrieve`."""
        profile = self._services.profile(ask.profile)
        llm = self._services.llm(profile)
        capacity = 0 if llm is None else llm.context_tokens - llm.answer_tokens
        if not ask.retrieve:
            if llm is None:
                raise RequestError(
                    f"profile {ask.profile!r} has no llm, so it quotes evidence: leave out retrieve",
                    "retrieve",
                )
            return Prepared(ask, None, llm, await asyncio.to_thread(plain, ask, capacity))
        evidence = await self.retrieve(ask)
        if llm is None:
            return Prepared(ask, evidence, None, None)
        prompt = self._services.prompt(profile)
        return Prepared(ask, evidence, llm, await asyncio.to_thread(write, prompt, ask, evidence, capacity))

    async def answer(self, prepared: Prepared) -> AsyncGenerator[str | Answer, None]:
        """Pieces of text, then one Answer, always: errors of the model are in it."""
        evidence = prepared.evidence
        if prepared.llm is None or prepared.written is None:
            if evidence is None:
                raise ValueError("neither evidence nor a model: not from `prepare`")
            found = await self._quoted(prepared, evidence)
            yield found.text
            yield found
            return
        cited = Cited(prepared.written.hits, prepared.ask.profile)
        shown = ""
        last = Answer("")
        async with aclosing(self._asked(prepared.llm, prepared.written, prepared, cited)) as pieces:
            async for piece in pieces:
                if isinstance(piece, str):
                    shown += piece
                    yield piece
                else:
                    last = replace(piece, text=shown)
        answer = replace(
            last,
            citations=tuple(cited.citations),
            known=bool(cited.citations) or evidence is None or any(evidence.state.values()),
            completion_tokens=last.completion_tokens or estimate(shown),
        )
        if evidence is not None:
            self._count(prepared, answer)
        yield answer

    async def _asked(
        self, llm: Llm, written: Written, prepared: Prepared, cited: Cited
    ) -> AsyncGenerator[str | Answer, None]:
        grounded = prepared.evidence is not None
        sanitiser = cited.sanitiser() if grounded else Sanitiser((), lambda n, _: f"[{n}]")
        ask, end = prepared.ask, Answer("", prompt_tokens=written.tokens)
        try:
            stream = llm.stream(written.messages, max_tokens=ask.max_tokens, temperature=ask.temperature)
            async with aclosing(stream) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Finish):
                        end = Answer(
                            "",
                            (),
                            piece.reason,
                            piece.prompt_tokens or written.tokens,
                            piece.completion_tokens or 0,
                        )
                    elif text := sanitiser.feed(piece):
                        yield text
        except TailraceError as error:
            end = replace(end, error=error)
        if rest := sanitiser.finish():
            yield rest
        yield end

    async def _quoted(self, prepared: Prepared, evidence: Evidence) -> Answer:
        ask = prepared.ask
        profile = self._services.profile(ask.profile)
        made = await extract(
            ask.query,
            evidence.hits,
            evidence.state,
            ask.state,
            self._services.similarity,
            min_relevance=profile.min_relevance,
            profile=ask.profile,
        )
        answer = Answer(
            made.text,
            tuple(made.cited.citations),
            completion_tokens=estimate(made.text),
            known=made.known,
        )
        self._count(prepared, answer)
        return answer

    def _count(self, prepared: Prepared, answer: Answer) -> None:
        outcome = "failed" if answer.error else "grounded" if answer.known else "unknown"
        ANSWERS.labels(prepared.ask.profile, outcome).inc()
        log.debug("answered", profile=prepared.ask.profile, outcome=outcome, citations=len(answer.citations))


def write(prompt: Prompt, ask: Ask, evidence: Evidence, capacity: int) -> Written:
    """The prompt of at most `capacity` tokens. LimitError if the question alone does not fit.

    Takes a tenth of a second where much has to go: for a thread, as `plain`.
    """
    nonce, count = new_nonce(), cache(estimate)

    def render(parts: Parts) -> list[Message]:
        return prompt.render(
            ask.query, parts.passages, parts.state, evidence.freshness.as_of, parts.history, nonce=nonce
        )

    def measure(parts: Parts) -> int:
        return of_messages((message.content for message in render(parts)), count)

    history = newest(ask.history, capacity, count)
    parts = fit(Parts(history, evidence.state, evidence.hits), capacity, measure)
    return Written(tuple(render(parts)), parts.passages, measure(parts))


def plain(ask: Ask, capacity: int) -> Written:
    """History and question, as they are, of at most `capacity` tokens."""
    count = cache(estimate)

    def messages(parts: Parts) -> tuple[Message, ...]:
        return (*parts.history, Message("user", ask.query))

    def measure(parts: Parts) -> int:
        return of_messages((message.content for message in messages(parts)), count)

    parts = fit(Parts(newest(ask.history, capacity, count)), capacity, measure)
    return Written(messages(parts), (), measure(parts))
