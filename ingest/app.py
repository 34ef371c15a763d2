"""Faust apps with the settings that lose nothing (faust-streaming 0.15.3)."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import faust

from core.settings import Ingest
from ingest.agents.transport import DirectTransport, EmbeddedTransport, RawTopic

COMMIT_SECONDS: Final = 1.0
"""Between two commits: so much is read again after a kill, and found unchanged."""

FETCH_BYTES: Final = 4 << 20
QUEUE_EVENTS: Final = 4096


def make_app(app_id: str, brokers: Sequence[str], settings: Ingest, *, embedded: bool) -> Any:
    """One consumer group. Topics are made beforehand; Faust declares nothing and serves nothing."""
    app: Any = faust.App(
        app_id,
        broker=";".join(f"kafka://{broker}" for broker in brokers),
        store="memory://",
        Topic=RawTopic,
        autodiscover=False,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        broker_session_timeout=settings.session_seconds,
        broker_heartbeat_interval=settings.session_seconds / 4,
        broker_rebalance_timeout=settings.rebalance_seconds,
        broker_commit_interval=COMMIT_SECONDS,
        consumer_metadata_max_age_ms=30_000,
        consumer_max_fetch_size=FETCH_BYTES,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=settings.instance,
        stream_buffer_maxsize=QUEUE_EVENTS,
        stream_wait_empty=True,
        loop=asyncio.get_running_loop(),
    )
    # For tables on disk, of which there are none: three empty folders wherever the user happens to stand.
    app._create_directories = lambda: None  # noqa: SLF001 - Faust has no setting for it
    transport = EmbeddedTransport if embedded else DirectTransport
    app.transport = transport(app.conf.broker_consumer, app)
    return app


def raw_bytes_topic(app: Any, name: str) -> Any:
    """Keys and values as they are: decoding is our own, so that no decode error acknowledges a record."""
    return app.topic(
        name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", allow_empty=True
    )
