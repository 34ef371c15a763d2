"""Kafka, Connect, Debezium, Postgres and Tailrace as plain processes of one machine, without Docker."""

from infra.stack.settings import Ports, StackSettings
from infra.stack.stack import PieceStatus, Stack

__all__ = ["PieceStatus", "Ports", "Stack", "StackSettings"]
