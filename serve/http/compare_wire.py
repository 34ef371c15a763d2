"""The shapes of generations and of their comparison."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from retrieve.compare import Asked, Comparison, Step
from serve.ask import MOST_HITS
from serve.http.body import Body
from serve.http.wire import Key, ProblemOut
from serve.ports import GenerationsView

MOST_QUESTIONS = 500
MOST_NAMED = 1000
LONGEST_QUESTION = 20_000


class QuestionIn(BaseModel):
    """`expected`: keys of documents that should be found."""

    model_config = ConfigDict(extra="forbid")

    query: Annotated[str, Field(min_length=1, max_length=LONGEST_QUESTION, pattern=r"\S")]
    expected: Annotated[list[Key], Field(max_length=MOST_NAMED)] = []


class CompareIn(Body):
    """`number`: the other generation, the newest by default. `limit`: keys named of each difference."""

    model_config = ConfigDict(extra="forbid")

    number: Annotated[int | None, Field(ge=1, le=2**31)] = None
    top_k: Annotated[int, Field(ge=1, le=MOST_HITS)] = 10
    limit: Annotated[int, Field(ge=0, le=MOST_NAMED)] = 20
    questions: list[QuestionIn] = Field(default=[], max_length=MOST_QUESTIONS)

    def asked(self) -> list[Asked]:
        return [Asked(one.query, tuple(one.expected)) for one in self.questions]


class CompareLine(BaseModel):
    """One line of the answer: one of the three."""

    step: Step | None = None
    result: Comparison | None = None
    error: ProblemOut | None = None


class GenerationOut(BaseModel):
    document: str
    number: int
    role: str
    answers: bool
    collection: str
    documents: int | None
    chunks: int | None
    dimensions: int
    started_at: int


class GenerationsOut(BaseModel):
    """`strays`: collections of this application that no record speaks of."""

    data: list[GenerationOut]
    strays: list[str]

    @classmethod
    def of(cls, view: GenerationsView) -> Self:
        shown: list[Any] = [
            GenerationOut(**{name: getattr(one, name) for name in GenerationOut.model_fields})
            for one in view.generations
        ]
        return cls(data=shown, strays=list(view.strays))
