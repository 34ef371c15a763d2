"""Floor 2: Kafka Connect, the databases behind it, and what a connector must be set to."""
