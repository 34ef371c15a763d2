"""What to type once the stack is up: each line works as it stands."""

import json
import sys
from pathlib import Path
from typing import Final

from infra.stack.stack import Stack

_QUESTION: Final = "How long does a parcel to {} take?"
_MOON: Final = "UPDATE articles SET body = body || ' Parcels to the moon take nine days.' WHERE id = 101"
_MARS: Final = "UPDATE articles SET body = CONCAT(body, ' Parcels to Mars take eleven days.') WHERE id = 101"


def tries(stack: Stack, *, with_tailrace: bool) -> list[str]:
    """Shell commands: a row is changed in each database, and what it says now is asked for."""
    program = Path(sys.executable).with_name("tailrace")
    query = f"{program} query -c {stack.settings.config_path} --profile"
    moon = _QUESTION.format("the moon")
    ask = json.dumps({"query": moon, "profile": "support"})
    lines = [f'psql "{stack.dsn()}" -c "{_MOON}"']
    if with_tailrace:
        lines.append(f'{query} support "{moon}"')
        lines.append(f"curl -s {stack.http_url}/v1/search -H 'content-type: application/json' -d '{ask}'")
    if stack.settings.mariadb:
        lines.append(f'mariadb --defaults-file={stack.mariadb.client_file} -e "{_MARS}"')
        if with_tailrace:
            lines.append(f'{query} mariadb "{_QUESTION.format("Mars")}"')
    return lines
