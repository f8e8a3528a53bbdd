"""Settings of the executor and its workers. Durations are seconds; leases are by the database's clock."""

from typing import Any, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class ExecutorSettings(BaseSettings):
    """Read from `RR_…`, frozen."""

    model_config = SettingsConfigDict(env_prefix="RR_", frozen=True, extra="ignore")

    kill_switch: bool = Field(
        default=False, description="holds back every mutation of this process, whatever the row says"
    )
    lease_seconds: float = Field(default=30.0, gt=0)
    lease_renew_seconds: float = Field(default=8.0, gt=0)
    lock_seconds: float = Field(default=600.0, gt=0, description="a lock that nobody renewed for this long is suspect")
    sweep_seconds: float = Field(default=1.0, gt=0)
    rehint_seconds: float = Field(default=5.0, gt=0, description="a ready action this old gets another hint")
    worker_slots: int = Field(default=64, ge=1, description="actions that one worker carries out at once")
    drain_seconds: float = Field(default=8.0, ge=0, description="how long a stopping worker lets actions finish")

    @model_validator(mode="after")
    def _renews_in_time(self) -> Self:
        if self.lease_renew_seconds * 2 > self.lease_seconds:
            raise ValueError("RR_LEASE_RENEW_SECONDS must be at most half of RR_LEASE_SECONDS")
        return self

    @classmethod
    def read(cls) -> Self:
        """The settings of this process's environment; what is wrong ends the process with a clear line."""
        values: dict[str, Any] = {}
        try:
            return cls(**values)
        except ValidationError as error:
            raise SystemExit(f"settings: {'; '.join(item['msg'] for item in error.errors())}") from None
