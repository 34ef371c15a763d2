"""`python -m infra.bytecode`: compile what Tailrace imports, after an install that compiled nothing.

pip would compile everything it installs: 85 MB, of which 60 are never imported. Left to the first
run, that run takes two seconds longer, and every run does where the environment cannot be written to.
"""

import importlib
import pkgutil
import sys
from contextlib import suppress
from typing import Final

PACKAGES: Final = ("core", "embed", "ingest", "retrieve", "connectors", "serve", "tailrace")


def main() -> None:
    sys.dont_write_bytecode = False
    for name in PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.endswith("__main__"):
                with suppress(ImportError):  # of an extra that is not installed
                    importlib.import_module(module.name)


if __name__ == "__main__":
    main()
