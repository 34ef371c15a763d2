"""From a live connector to its file. Pure. A secret never gets into it."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from itertools import count

from pydantic import ValidationError

from connectors.diff import OWNER_KEY
from connectors.doors import login_password
from connectors.file import said
from connectors.live import LiveConnector
from connectors.masking import holds_secret, is_reference, is_secret_key
from connectors.references import harmless
from connectors.spec import ConnectorSpec, spec_of
from connectors.substitution import connects_own
from core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Exported:
    """A file's content, and what somebody has to know before it is applied.

    `variables`: what `apply` needs in its environment, with the key that held the secret.
    """

    spec: ConnectorSpec
    variables: dict[str, str]
    notes: tuple[str, ...]


def exported(
    live: LiveConnector, password_keys: Collection[str] = (), taken: Collection[str] = ()
) -> Exported:
    """What `plan` finds equal to the live connector, once the variables hold the same secrets.

    `taken`: variables of connectors that are exported beside it; two secrets never share one.

    Raises ConfigurationError for one that no file can say: its name, its class or its tasks.max. A literal
    secret becomes `${env:NAME}`; a reference of Connect's own stays one.
    """
    variables: dict[str, str] = {}
    config: dict[str, str] = {}
    for key, value in sorted(live.config.items()):
        if key == OWNER_KEY:
            continue
        before, secret, after = _parted(key, value, password_keys)
        config[key] = connects_own(before)
        if secret:
            variable = _variable(live.name, key, {*taken, *variables})
            variables[variable] = key
            config[key] += f"${{env:{variable}}}{connects_own(after)}"
    state = live.state if live.state in {"paused", "stopped"} else "running"
    try:
        spec = spec_of(live.name, config)
    except KeyError:
        raise ConfigurationError("it has no connector.class") from None
    except ValidationError as error:
        raise ConfigurationError(f"no file can say it: {said(error, ConnectorSpec)}") from None
    except ValueError:
        raise ConfigurationError("no file can say its tasks.max: it is no whole number") from None
    spec = spec.model_copy(update={"state": state})
    return Exported(spec, variables, tuple(_notes(spec, variables)))


def _parted(key: str, value: str, password_keys: Collection[str]) -> tuple[str, str, str]:
    """The value before, in and after its literal secret, which is "" where there is none."""
    password = login_password(key, value)
    if password is not None:
        head, _, tail = value.rsplit('"', 2)
        return (value, "", "") if harmless(password) else (f'{head}"', password, f'"{tail}')
    secret = is_secret_key(key) or key in password_keys
    return ("", value, "") if (secret and not is_reference(value)) or holds_secret(value) else (value, "", "")


def _variable(connector: str, key: str, taken: Collection[str]) -> str:
    """By connector and key. Names that differ in their signs alone give the same: the later is numbered."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", f"{connector}_{key}").upper()
    name = name if not name[0].isdigit() else f"CONNECTOR_{name}"
    numbered = (name if number == 1 else f"{name}_{number}" for number in count(1))
    return next(one for one in numbered if one not in taken)


def _notes(spec: ConnectorSpec, variables: dict[str, str]) -> list[str]:
    notes = [
        f"{key} held a secret in the open: set {variable} before `apply`, better move it to the worker's"
        " config provider"
        for variable, key in variables.items()
    ]
    notes += [f"`apply` would refuse it: {violation}" for violation in spec.violations()]
    return notes
