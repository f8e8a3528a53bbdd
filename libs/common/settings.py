"""Settings every process shares: one frozen object, read from `RR_…` variables at the entry point, secrets typed.

Each of them may stand in a file instead, named by `RR_…_FILE`.
"""

import os
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

import orjson
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from libs.common.secret_files import UnreadableVariable, variable


class FileSource(PydanticBaseSettingsSource):
    """Settings out of the files that `RR_…_FILE` variables name."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[str | None, str, bool]:  # noqa: ARG002
        """The content, the field's name, and that it is not JSON."""
        name = f"RR_{field_name.upper()}"
        return (variable(name) if os.environ.get(f"{name}_FILE") else None), field_name, False

    def __call__(self) -> dict[str, Any]:
        """All that files name."""
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


class FileBackedSettings(BaseSettings):
    """Settings of which each may stand in a file; raises UnreadableVariable when one does and cannot be had."""

    @classmethod
    def settings_customise_sources(  # the framework's own word for it
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- there are none
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- a folder of files; ours are named singly
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Variables and the files that variables name; nothing else is looked at."""
        return init_settings, env_settings, FileSource(settings_cls)


class ProcessSettings(FileBackedSettings):
    """What a process needs to find its servers and to be seen. Durations are seconds."""

    model_config = SettingsConfigDict(env_prefix="RR_", frozen=True, extra="ignore")

    nats_url: SecretStr
    nats_nkey: SecretStr | None = Field(default=None, description="seed of the key that this process signs in with")
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

    @field_validator("nats_nkey")
    @classmethod
    def _one_identity(cls, value: SecretStr | None, known: ValidationInfo) -> SecretStr | None:
        url: SecretStr | None = known.data.get("nats_url")
        if value and url and urlsplit(url.get_secret_value()).username is not None:
            raise ValueError("RR_NATS_URL names a user already; a process signs in with one or the other")
        return value

    @classmethod
    def read(cls) -> Self:
        """The settings of this process's environment; what is missing or wrong is said by variable, then it ends."""
        values: dict[str, Any] = {}
        try:
            return cls(**values)
        except ValidationError as error:
            wrong = [f"RR_{'_'.join(map(str, item['loc'])).upper()}: {item['msg']}" for item in error.errors()]
            raise SystemExit(f"settings: {'; '.join(wrong)}") from None
        except UnreadableVariable as error:
            raise SystemExit(f"settings: {error}") from None


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
