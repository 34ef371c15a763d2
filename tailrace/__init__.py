"""Floor 4: the front door. The only place that names concrete adapters."""

__version__ = "0.1.0"
