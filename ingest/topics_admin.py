"""The admin side of the broker: topics, offsets, consumer groups."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import stamina
from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from core.errors import ConfigurationError, TransientError
from ingest.topic_plan import LiveTopic, TopicChange, refuse_wrong_topics

TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """First and next offset of a partition."""

    start: int
    end: int


class TopicsAdmin:
    """The broker's admin side. Blocking calls; TransientError when the broker does not answer."""

    def __init__(self, brokers: Sequence[str]) -> None:
        self._brokers = ",".join(brokers)
        # The client is kept: its futures die with it.
        self._admin = AdminClient({"bootstrap.servers": self._brokers, "log_level": 0})

    def live(self) -> dict[str, LiveTopic]:
        """Every topic, with the configs that plans look at."""
        with _border(self._brokers):
            names = sorted(self._admin.list_topics(timeout=TIMEOUT_SECONDS).topics)
            if not names:
                return {}
            described = self._described(names)
            resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
            configs = self._admin.describe_configs(resources, request_timeout=TIMEOUT_SECONDS)
            return {
                resource.name: LiveTopic(
                    resource.name,
                    *described[resource.name],
                    {name: entry.value for name, entry in future.result().items()},
                )
                for resource, future in configs.items()
            }

    def describe(self, topic: str) -> LiveTopic:
        """One topic, without its configs. Raises ConfigurationError if it does not exist."""
        with _border(self._brokers):
            found = self._admin.list_topics(topic, timeout=TIMEOUT_SECONDS).topics[topic]
            if found.error is not None or not found.partitions:
                raise ConfigurationError(f"topic {topic} does not exist: run `tailrace topics apply`")
            topic_id, partitions = self._described([topic])[topic]
            return LiveTopic(topic, topic_id, partitions, {})

    def _described(self, names: Sequence[str]) -> dict[str, tuple[str, int]]:
        futures = self._admin.describe_topics(TopicCollection(list(names)), request_timeout=TIMEOUT_SECONDS)
        found = {}
        for name, future in futures.items():
            topic = future.result()
            found[name] = (str(topic.topic_id), len(topic.partitions))
        return found

    def apply(self, changes: Sequence[TopicChange]) -> None:
        """Create and configure. Raises ConfigurationError for what only a person can mend."""
        refuse_wrong_topics([change for change in changes if change.action == "refused"])
        with _border(self._brokers):
            new = [
                NewTopic(c.spec.name, c.spec.partitions, self._replication, config=dict(c.spec.configs()))
                for c in changes
                if c.action == "create"
            ]
            if new:
                _wait_all(self._admin.create_topics(new, request_timeout=TIMEOUT_SECONDS).values())
            wrong: defaultdict[str, dict[str, str]] = defaultdict(dict)
            for change in changes:
                if change.action == "configure":
                    wrong[change.topic] |= change.configs
            resources = [
                ConfigResource(
                    ResourceType.TOPIC,
                    name,
                    incremental_configs=[
                        ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
                        for key, value in configs.items()
                    ],
                )
                for name, configs in wrong.items()
            ]
            if resources:
                _wait_all(self._admin.incremental_alter_configs(resources).values())

    _replication = 1

    def replicated(self, factor: int) -> "TopicsAdmin":
        """The same, creating topics with this replication factor."""
        self._replication = factor
        return self

    def bounds(self, topics: Sequence[str]) -> dict[tuple[str, int], Bounds]:
        """First and next offset of every partition of these topics."""
        with _border(self._brokers):
            partitions = self._partitions(topics)
            first = self._offsets(partitions, OffsetSpec.earliest())
            last = self._offsets(partitions, OffsetSpec.latest())
            return {key: Bounds(first[key], last[key]) for key in first}

    def since(self, topics: Sequence[str], at: int) -> dict[tuple[str, int], int]:
        """The first offset stamped at Unix ms `at` or later, by partition; those without one are left out."""
        with _border(self._brokers):
            found = self._offsets(self._partitions(topics), OffsetSpec.for_timestamp(at))
            return {key: offset for key, offset in found.items() if offset >= 0}

    def _partitions(self, topics: Sequence[str]) -> list[TopicPartition]:
        metadata = self._admin.list_topics(timeout=TIMEOUT_SECONDS).topics
        return [
            TopicPartition(topic, number)
            for topic in topics
            if topic in metadata
            for number in metadata[topic].partitions
        ]

    def _offsets(self, partitions: Sequence[TopicPartition], spec: Any) -> dict[tuple[str, int], int]:
        if not partitions:
            return {}
        futures = self._admin.list_offsets(dict.fromkeys(partitions, spec), request_timeout=TIMEOUT_SECONDS)
        return {(tp.topic, tp.partition): future.result().offset for tp, future in futures.items()}

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        """Committed offsets of a consumer group; partitions without one are left out."""
        with _border(self._brokers):
            request = [ConsumerGroupTopicPartitions(group)]
            found = self._coordinated(
                lambda: self._admin.list_consumer_group_offsets(request, request_timeout=TIMEOUT_SECONDS)
            )[group].topic_partitions
            return {(tp.topic, tp.partition): tp.offset for tp in found if tp.offset >= 0}

    def committed_of(self, group: str, topic: str) -> dict[int, int]:
        """The same by partition of one topic."""
        return {number: at for (name, number), at in self.committed(group).items() if name == topic}

    def members(self, group: str) -> int:
        """How many consumers a group has, those included that died within their session."""
        with _border(self._brokers):
            found = self._coordinated(
                lambda: self._admin.describe_consumer_groups([group], request_timeout=TIMEOUT_SECONDS)
            )[group]
            return len(found.members)

    def reset(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Set the committed offsets of these partitions. TransientError while the group has members."""
        with _border(self._brokers):
            places = [TopicPartition(topic, number, offset) for number, offset in offsets.items()]
            request = [ConsumerGroupTopicPartitions(group, places)]
            futures = self._admin.alter_consumer_group_offsets(request, request_timeout=TIMEOUT_SECONDS)
            # The call succeeds and says no beside each partition.
            for partition in futures[group].result().topic_partitions:
                if partition.error is not None:
                    raise TransientError(
                        f"group {group} keeps its offset of {topic}: {partition.error.str()}. A worker runs,"
                        " or its session has not ended yet: stop it, wait a few seconds, run this again"
                    )

    @staticmethod
    def _coordinated(ask: Callable[[], Mapping[str, "Future[Any]"]]) -> dict[str, Any]:
        """Asked again while the broker loads the group, as it does just after its start."""
        for attempt in stamina.retry_context(
            on=_is_loading, attempts=None, timeout=TIMEOUT_SECONDS, wait_initial=0.1, wait_max=1.0
        ):
            with attempt:
                return {name: future.result() for name, future in ask().items()}
        raise AssertionError("stamina either returns or raises")

    def forget(self, groups: Sequence[str]) -> None:
        """Delete consumer groups, with what they have committed; nothing where there is none.

        Raises TransientError while one has members.
        """
        with _border(self._brokers):
            futures = self._admin.delete_consumer_groups(list(groups), request_timeout=TIMEOUT_SECONDS)
            for group, future in futures.items():
                try:
                    future.result()
                except KafkaException as error:
                    code = error.args[0].code()
                    if code == KafkaError.NON_EMPTY_GROUP:
                        raise TransientError(
                            f"group {group} has members still: a worker follows it, or one was killed and its"
                            " session has not ended yet; it is forgotten later"
                        ) from error
                    if code != KafkaError.GROUP_ID_NOT_FOUND:
                        raise


def _is_loading(error: Exception) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() in (
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
    )


def _wait_all(futures: Iterable["Future[Any]"]) -> None:
    for future in futures:
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


class _border:  # noqa: N801 - reads as the statement it is
    """The client's exceptions end here."""

    def __init__(self, brokers: str) -> None:
        self._brokers = brokers

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KafkaException):
            said = error.args[0]
            raise TransientError(
                f"Kafka at {self._brokers}: {said.str()}: see that the broker runs and that `log.brokers`"
                " names it"
            ) from error
