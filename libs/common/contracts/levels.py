"""Who may decide about an approval later: a part of the facts that ask for one."""

from pydantic import BaseModel, ConfigDict


class Level(BaseModel):
    """Who may decide too, once nobody has for so long: roles and groups."""

    model_config = ConfigDict(frozen=True, extra="ignore", cache_strings="keys")

    after_seconds: float
    approvers: list[str] = []
    groups: list[str] = []
