"""The encoders in use: that of the configuration, and those that recorded generations were made with."""

from collections.abc import Iterable
from threading import Lock

from core.errors import ConfigurationError, TransientError
from core.settings import EncoderSettings
from embed.encoder import Encoder
from ingest.generations import Generation
from tailrace.adapters import Encoders, load_encoders


class EncoderBook:
    """Loads each encoder once; knows which one answers questions to which collection. Thread-safe."""

    def __init__(self, app: str) -> None:
        self._app = app
        self._lock = Lock()
        self._loaded: dict[str, Encoders] = {}
        self._by_collection: dict[str, Encoders] = {}

    def load(self, settings: EncoderSettings) -> Encoders:
        """The encoders of this section. Blocks for a second or so the first time."""
        with self._lock:
            key = settings.model_dump_json()
            if key not in self._loaded:
                self._loaded[key] = load_encoders(settings)
            return self._loaded[key]

    def of(self, generation: Generation) -> Encoders:
        """Those that it was made with. Raises ConfigurationError if they give other vectors now."""
        frozen = generation.frozen
        encoders = self.load(frozen.encoder)
        found = encoders.document.fingerprint
        if found != frozen.fingerprint:
            raise ConfigurationError(
                f"document {generation.document}: generation {generation.number} was made with encoder"
                f" {frozen.fingerprint[:24]}…, and the same settings give {found[:24]}…"
                " here: the model's files or the precision that this processor has are others."
                " Restore them (encoder.model, encoder.precision), or build a new generation"
            )
        return encoders

    def know(self, generations: Iterable[Generation]) -> None:
        """Remember these generations' encoders for questions."""
        for generation in generations:
            self._by_collection[generation.collection(self._app)] = self.of(generation)

    def query_encoder(self, collection: str) -> Encoder:
        """What a question to this collection is encoded with."""
        found = self._by_collection.get(collection)
        if found is None:
            raise TransientError(f"collection {collection} has just been made: ask again in a moment")
        return found.query
