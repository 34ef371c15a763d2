"""What the service is made of. The composition root fills it in once."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.clock import Clock, SystemClock
from core.errors import ConfigurationError
from core.settings import Profile, Settings
from embed.model import Scope
from serve.errors import UnknownNameError
from serve.llm import Llm
from serve.ports import CurrentFreshness, Generations, ReadinessCheck, Retrieval, Similarity
from serve.prompt import Prompt


@dataclass(frozen=True, slots=True)
class Services:
    """Raises ConfigurationError if a profile names a prompt or model that is not given."""

    settings: Settings
    retrieval: Retrieval
    similarity: Similarity
    freshness: CurrentFreshness
    readiness: ReadinessCheck
    indexed: Generations
    llms: Mapping[str, Llm] = field(default_factory=dict)
    prompts: Mapping[str, Prompt] = field(default_factory=dict)
    """By configured name; profiles without one use `grounded`."""
    grounded: Prompt = field(default_factory=Prompt.builtin)
    clock: Clock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        for name, profile in self.settings.profiles.items():
            if profile.prompt is not None and profile.prompt not in self.prompts:
                raise ConfigurationError(f"profiles.{name}: prompt {profile.prompt!r} was not loaded")
            if profile.llm is not None and profile.llm not in self.llms:
                raise ConfigurationError(f"profiles.{name}: llm {profile.llm!r} was not made")

    @property
    def scope(self) -> Scope:
        """Whose rows every request sees: from the configuration alone, never from the request."""
        return Scope(self.settings.serve.tenant, frozenset(self.settings.serve.groups))

    def profile(self, name: str) -> Profile:
        """Raises UnknownNameError."""
        found = self.settings.profiles.get(name)
        if found is None:
            raise UnknownNameError("profile", name, self.settings.profiles, code="model_not_found")
        return found

    def prompt(self, profile: Profile) -> Prompt:
        return self.grounded if profile.prompt is None else self.prompts[profile.prompt]

    def llm(self, profile: Profile) -> Llm | None:
        return None if profile.llm is None else self.llms[profile.llm]
