"""What every section of the configuration has in common."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from core.keys import TableId

_NAME = r"^[a-z][a-z0-9_-]{0,62}$"


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _table(value: str) -> str:
    TableId.parse(value)
    return value


Name = Annotated[str, Field(pattern=_NAME)]
Table = Annotated[str, AfterValidator(_table)]
