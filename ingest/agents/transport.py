"""Faust's Kafka transport, with waits taken out and holes counted right (faust-streaming 0.15.3).

Faust starts four asyncio tasks for each message to race its delivery against a suspension; nearly
every delivery ends without waiting at all. Here a delivery is stepped once, and raced only if it
has to wait: the same order, a third of the cost. And Faust lets a fetch wait 1.5 s for data; a
broker that does not answer early (the embedded log) then costs that at each hop.

The holes of a compacted topic were never delivered, so nobody acknowledges them, and Faust commits
past them by a list of its own. There a hole reaches one record too far, which costs a tick of the
commit at each, and one behind offset 0 is missing, which stops the commits of its partition.

What is fetched around a rebalance is thrown away, and read again since each partition is set back to
what the group has committed. aiokafka 0.14 leaves a partition where it is that has nothing committed
yet: what was thrown away of it would never be read. And Faust stops the flow of a worker at a rebalance
only if it had partitions: one that had none went on delivering while its first ones were set back, and
what stood in the queues by then was emptied out, and counted as a hole.
"""

import asyncio
from collections.abc import Coroutine, Generator, Mapping
from typing import Any, Final

import faust
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport

EMBEDDED_FETCH_WAIT_MS: Final = 5
FETCH_WAIT_MS: Final = 500
FULL_QUEUE_SECONDS: Final = 0.002


class _Begun:
    """A coroutine that has been stepped once, to be awaited to its end."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], yielded: Any) -> None:
        self._coroutine, self._yielded = coroutine, yielded

    def __await__(self) -> Generator[Any, Any, Any]:
        yielded = self._yielded
        while True:
            try:
                sent = yield yielded
            except BaseException as error:  # noqa: BLE001 - handed to the coroutine, as the loop would
                step = self._throw(error)
            else:
                step = self._send(sent)
            ended, yielded = step
            if ended:
                return yielded

    def _send(self, value: Any) -> tuple[bool, Any]:
        try:
            return False, self._coroutine.send(value)
        except StopIteration as end:
            return True, end.value

    def _throw(self, error: BaseException) -> tuple[bool, Any]:
        try:
            return False, self._coroutine.throw(error)
        except StopIteration as end:
            return True, end.value


async def _rest(begun: _Begun) -> Any:
    return await begun


class _Thread(AIOKafkaConsumerThread):
    fetch_wait_ms = FETCH_WAIT_MS

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = self.fetch_wait_ms  # noqa: SLF001 - Faust passes a constant
        return consumer

    async def seek_to_committed(self) -> Mapping[Any, Any]:
        found: Mapping[Any, Any] = await self.call_thread(self._seek_to_committed)
        return found

    async def _seek_to_committed(self) -> Mapping[Any, Any]:
        """Only what is assigned once its offset is known: another rebalance that begins sets back its own."""
        consumer = self._ensure_consumer()
        committed: dict[Any, Any] = {}
        for partition in consumer.assignment():
            offset = await consumer.committed(partition)
            if partition in consumer.assignment():
                committed[partition] = offset
                if offset:
                    consumer.seek(partition, offset)
        unread = [one for one in consumer.assignment() if one in committed and not committed[one]]
        if unread:
            await consumer.seek_to_beginning(*unread)
        return committed


class _EmbeddedThread(_Thread):
    fetch_wait_ms = EMBEDDED_FETCH_WAIT_MS


class _Consumer(Consumer):
    thread_class: type[_Thread] = _Thread

    async def _wait_next_records(self, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's own
        # Faust sleeps a second whenever all partitions wait for a full queue to empty.
        while self.flow_active and self._buffered_partitions and not self._get_active_partitions():
            if self.should_stop:
                break
            await asyncio.sleep(FULL_QUEUE_SECONDS)
        return await super()._wait_next_records(timeout)

    def resume_partitions(self, tps: Any) -> None:
        """Right before they are set back; Faust starts the flow again after that."""
        self.stop_flow()
        self.app.flow_control.suspend()
        super().resume_partitions(tps)

    def _new_consumer_thread(self) -> Any:
        return self.thread_class(self, loop=self.loop, beacon=self.beacon)

    async def _add_gap(self, tp: Any, first: int, last: int) -> None:
        if first < last:  # Faust gives the next record, and counts it in
            await super()._add_gap(tp, first, last - 1)

    def _to_message(self, tp: Any, record: Any) -> Any:
        if self._read_offset[tp] == 0 and record.offset > 1:  # Faust takes 0 for none
            self._gap[tp].addi(1, record.offset)
        return super()._to_message(tp, record)

    async def wait_first(self, *coros: Any, timeout: Any = None) -> Any:  # noqa: ASYNC109 - Faust's own
        first, *others = coros
        if isinstance(first, Coroutine) and len(others) == 1 and timeout is None:
            try:
                yielded = first.send(None)
            except StopIteration:
                others[0].close()
                return None
            first = _rest(_Begun(first, yielded))
        return await super().wait_first(first, *others, timeout=timeout)


class RawTopic(faust.Topic):
    """Gives keys and values as they are: no decode error can acknowledge a record, no codec costs time."""

    def _compile_decode(self) -> None:
        """Faust would put its codecs in the place of `decode`."""

    async def decode(self, message: Any, *, propagate: bool = False) -> Any:  # noqa: ARG002 - Faust's own
        return faust.Event(self.app, message.key, message.value, None, message)


class _EmbeddedConsumer(_Consumer):
    thread_class = _EmbeddedThread


class DirectTransport(Transport):
    """For a broker that answers a fetch as soon as there is data."""

    Consumer = _Consumer


class EmbeddedTransport(Transport):
    """For the embedded log, which answers a fetch when its time is over."""

    Consumer = _EmbeddedConsumer
