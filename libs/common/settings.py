"""Settings every process shares: one frozen object, read from `RR_…` variables at the entry point, secrets typed."""

from typing import Annotated, Any, Self

import orjson
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class ProcessSettings(BaseSettings):
    """What a process needs to find its servers and to be seen. Durations are seconds."""

    model_config = SettingsConfigDict(env_prefix="RR_", frozen=True, extra="ignore")

    nats_url: SecretStr
    postgres_url: SecretStr
    redis_url: SecretStr | None = None
    instance: str = ""
    tenant: str = "default"
    health_port: int = Field(
        default=0, description="loopback port of /healthz, /readyz and /metrics; 0 takes a free one"
    )
    health_host: str = "127.0.0.1"
    log_level: str = "INFO"
    trace_file: str = ""
    otlp_endpoint: str = ""
    trace_sample: float = Field(default=1.0, ge=0, le=1)
    pool_size: int = Field(default=6, ge=1)
    batch: int = Field(default=256, ge=1, le=1000, description="messages that one transaction takes")
    max_failures: int = Field(default=5, ge=1, description="real errors before a message becomes a dead letter")
    relay_poll_seconds: float = 1.0
    rpc_timeout_seconds: float = 5.0
    watchdog_seconds: float = Field(default=30.0, description="a loop that stands still this long ends the process")
    consumer_check_seconds: float = 5.0

    @classmethod
    def read(cls) -> Self:
        """The settings of this process's environment; what is missing or wrong is said by variable, then it ends."""
        values: dict[str, Any] = {}
        try:
            return cls(**values)
        except ValidationError as error:
            wrong = [f"RR_{'_'.join(map(str, item['loc'])).upper()}: {item['msg']}" for item in error.errors()]
            raise SystemExit(f"settings: {'; '.join(wrong)}") from None


class TokenMap(BaseSettings):
    """API tokens and who they speak for, until principals have an owner: `RR_TOKENS`, or a file of the same JSON."""

    model_config = SettingsConfigDict(env_prefix="RR_", frozen=True, extra="ignore")

    tokens: Annotated[SecretStr, NoDecode] = SecretStr("{}")
    tokens_file: str = ""

    @field_validator("tokens")
    @classmethod
    def _is_object(cls, value: SecretStr) -> SecretStr:
        try:
            good = isinstance(orjson.loads(value.get_secret_value()), dict)
        except orjson.JSONDecodeError:
            good = False
        if not good:
            raise ValueError("RR_TOKENS must be a JSON object of token to {actor, tenants, roles}")
        return value
