"""What only a real broker tells of its topics."""

import time
from uuid import uuid4

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from infra.stack import Stack
from ingest.topics_admin import TopicsAdmin

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def test_the_first_record_since_a_moment_is_found_by_partition(stack: Stack) -> None:
    topic = f"since-{uuid4().hex}"
    client = AdminClient({"bootstrap.servers": stack.brokers})
    client.create_topics([NewTopic(topic, 3, 1)])[topic].result(30)
    producer = Producer({"bootstrap.servers": stack.brokers})
    now = int(time.time() * 1000)
    for partition, ages in ((0, [9000, 6000, 4000, 1000]), (1, [9000, 8000])):
        for age in ages:
            producer.produce(topic, b"v", partition=partition, timestamp=now - age)
    assert producer.flush(30) == 0
    admin = TopicsAdmin([stack.brokers])
    assert admin.since([topic], now - 5000) == {(topic, 0): 2}
    assert admin.since([topic], now - 8500) == {(topic, 0): 1, (topic, 1): 1}
    assert admin.since([topic], now) == {}
    assert admin.since([topic, "no-such-topic"], 0) == {(topic, 0): 0, (topic, 1): 0}
    client.delete_topics([topic])[topic].result(30)
