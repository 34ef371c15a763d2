"""For each database: the configuration of its connector, and the rules that it must not break."""
