"""What the generations that run are read and written with: encoders, templates, filters, by collection."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock
from typing import Final

from core.clock import Clock, SystemClock
from core.errors import ConfigurationError, TailraceError, TransientError
from core.keys import TableId
from core.settings import DocumentSettings, EncoderSettings, OpenAIEncoder, Settings
from core.telemetry import logger
from embed.encoder import Encoder
from embed.render import Renderer
from ingest.generations import Frozen, Generation, Registry
from retrieve.recipe import Recipe
from tailrace.adapters import Encoders, load_encoders

log = logger(__name__)

GRACE_SECONDS: Final = 60.0
"""What a dropped generation is read with stays so long: a request may hold its collection still."""

_HERE: Final[Mapping[str, Sequence[str]]] = {
    "openvino": ("threads",),
    "sentence-transformers": ("device",),
    "openai": ("base_url", "api_key", "timeout_seconds"),
}
"""Settings, by kind, that decide neither vector nor cut, but how this machine gets at the encoder."""


class EncoderBook:
    """Loads each encoder once; knows how every running generation's collection is read. Thread-safe.

    `encoder`: the file's. What is recorded decides vectors and cut, and the file how this machine gets at
    them. A collection that is asked for before it was learnt is looked up in the registry that `watch` gives.
    """

    def __init__(
        self,
        app: str,
        encoder: EncoderSettings,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._app, self._encoder = app, encoder
        self._configured: Mapping[str, DocumentSettings] = {}
        self._known: frozenset[TableId] = frozenset()
        self._clock = clock or SystemClock()
        self._lock = Lock()
        self._loading: dict[str, Lock] = {}
        self._loaded: dict[str, Encoders] = {}
        self._recipes: dict[str, Recipe] = {}
        self._by_collection: dict[str, Encoders] = {}
        self._gone: dict[str, float] = {}
        self._registry: Callable[[], Registry] = Registry
        self._tables: tuple[Registry | None, Mapping[str, Sequence[TableId]]] = (None, {})

    def watch(self, settings: Settings, registry: Callable[[], Registry]) -> None:
        """`registry()` is the newest that is known of the generations of these settings' documents."""
        self._configured, self._registry = settings.documents, registry
        self._known = frozenset(settings.tables())

    def load(self, settings: EncoderSettings) -> Encoders:
        """The encoders of this section; blocks for a second or so the first time."""
        key = settings.model_dump_json()
        found = self._loaded.get(key)
        if found is not None:  # without a lock: a question never waits for another model's loading
            return found
        with self._lock:
            loading = self._loading.setdefault(key, Lock())
        with loading:
            if key not in self._loaded:
                self._loaded[key] = load_encoders(settings)
            return self._loaded[key]

    def of(self, generation: Generation) -> Encoders:
        """Those that it was made with. Raises ConfigurationError if nothing here gives their vectors now."""
        wrong: ConfigurationError | None = None
        for section in ways(generation.frozen.encoder, self._encoder):
            try:
                return self._given(section, generation)
            except ConfigurationError as error:
                wrong = wrong or error  # of what is recorded: that the file names another model is no fault
        raise wrong or RuntimeError("there is always one way")

    def _given(self, section: EncoderSettings, generation: Generation) -> Encoders:
        """As `of`, by this section."""
        wanted = generation.frozen.fingerprint
        named = f"document {generation.document}: generation {generation.number}"
        try:
            encoders = self.load(section)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{named} cannot be encoded as it was made: {error}. Restore that, or let"
                " encoder in the file be the same model, where it is now"
            ) from error
        found = encoders.document.fingerprint
        if found != wanted:
            raise ConfigurationError(
                f"{named} was made with encoder {wanted[:24]}…, and the same settings give"
                f" {found[:24]}… here: the model's files or the precision that this processor has are others."
                " Restore them (encoder.model, encoder.precision), or build a new generation"
            )
        return encoders

    def know(self, generations: Iterable[Generation]) -> None:
        """Load what these are read with. Raises as `of`."""
        for generation in generations:
            self._by_collection[generation.collection(self._app)] = self.of(generation)

    def learn(self, registry: Registry) -> dict[str, TailraceError]:
        """Load what every running generation is read with, the answering ones first; forget the others.

        By collection why one could not be loaded. Blocks; for a thread of its own.
        """
        running = [one for one in registry.running() if one.document in self._configured]
        running.sort(key=lambda one: registry.role(one) != "live")
        failed: dict[str, TailraceError] = {}
        for one in running:
            try:
                self.know([one])
            except TailraceError as error:
                failed[one.collection(self._app)] = error
        self._forget({one.collection(self._app) for one in running})
        return failed

    def query_encoder(self, collection: str) -> Encoder:
        """What a question to this collection is encoded with.

        Loads it if it was not yet, which blocks. TransientError as `recipe`.
        """
        found = self._by_collection.get(collection)
        if found is None:
            self.know([self._find(collection)])
            found = self._by_collection[collection]
        return found.query

    def answering_encoder(self, configured: EncoderSettings) -> Encoder:
        """For texts of no one document: that of the first document's answers, or the configured one."""
        registry = self._registry()
        found = [one for name in sorted(self._configured) if (one := registry.answering(name)) is not None]
        return self.query_encoder(found[0].collection(self._app)) if found else self.load(configured).query

    def documents(self) -> Sequence[str]:
        """As retrieve.recipe.Recipes, like the next two."""
        return list(self._configured)

    def tables(self, document: str) -> Sequence[TableId]:
        registry = self._registry()
        known, found = self._tables
        if known is not registry:  # asked for by every request, and changed by hand
            found = {name: self._tables_of(registry, name) for name in self._configured}
            self._tables = (registry, found)
        return found[document]

    def recipe(self, collection: str) -> Recipe:
        found = self._recipes.get(collection)
        if found is None:
            one = self._find(collection)
            found = recipe_of(one.document, one.frozen)
            if found.table not in self._known:
                raise ConfigurationError(
                    f"document {one.document}: generation {one.number} is made of {found.table}, which is no"
                    " longer in sources: add it again, or promote a generation of another table"
                )
            self._recipes[collection] = found
        return found

    def _tables_of(self, registry: Registry, document: str) -> Sequence[TableId]:
        first = registry.answering(document)
        running = [one for one in registry.of(document) if one.status == "running"]
        sections = [one.frozen.document for one in sorted(running, key=lambda one: one != first)]
        sections.append(self._configured[document])
        tables = dict.fromkeys(TableId.parse(section.table) for section in sections)
        return [table for table in tables if table in self._known]

    def _find(self, collection: str) -> Generation:
        for one in self._registry().running():
            if one.collection(self._app) == collection:
                return one
        raise TransientError(f"collection {collection} has just been made: ask again in a moment")

    def _forget(self, running: set[str]) -> None:
        now = self._clock.monotonic()
        for name in [*self._gone]:
            if name in running:
                del self._gone[name]
        for name in {*self._by_collection, *self._recipes} - running:
            if now - self._gone.setdefault(name, now) > GRACE_SECONDS:
                unused = self._by_collection.pop(name, None)
                self._recipes.pop(name, None)
                del self._gone[name]
                if unused not in self._by_collection.values():
                    self._loaded = {key: one for key, one in self._loaded.items() if one is not unused}
                log.info("a dropped generation is no longer read", collection=name)


def recipe_of(document: str, frozen: Frozen) -> Recipe:
    """How a generation with this frozen configuration is read."""
    section = frozen.document
    return Recipe(
        document,
        TableId.parse(section.table),
        frozenset(section.metadata),
        Renderer(document, section).render,
    )


def ways(recorded: EncoderSettings, configured: EncoderSettings) -> list[EncoderSettings]:
    """The sections that may give what was recorded, to be tried in this order.

    The recorded one as the file says that it is reached now; then, for a model in a folder, the file's,
    since a folder may be moved. An endpoint is another one where it is asked for another model.
    """
    if recorded.kind != configured.kind:
        return [recorded]
    here = {name: getattr(configured, name) for name in _HERE.get(recorded.kind, ())}
    reached = recorded.model_copy(update=here)
    if isinstance(recorded, OpenAIEncoder) and isinstance(configured, OpenAIEncoder):
        same = (recorded.model, recorded.dimensions) == (configured.model, configured.dimensions)
        return [reached if same else recorded]
    return [reached] if reached == configured else [reached, configured]
