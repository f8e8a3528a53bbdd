"""The exporter's settings."""

from typing import Self

from pydantic import Field, SecretStr, model_validator

from libs.common.objectstore import ObjectStore
from libs.common.settings import ProcessSettings


class ExporterSettings(ProcessSettings):
    """As every process, and where the log is copied to; `export_from…` count for an empty target."""

    export_url: str = Field(min_length=1, description="file:///folder, or s3://bucket/prefix?region=…&endpoint=…")
    export_access_key: SecretStr = Field(default=SecretStr(""), description="S3's access key; none: the machine's role")
    export_secret: SecretStr = Field(default=SecretStr(""), description="S3's secret key")
    export_timeout_seconds: float = Field(default=60.0, gt=0, le=600, description="how long a request may take")
    export_from: int | None = Field(default=None, ge=0, description="the index that an empty target begins at")
    export_from_seq: int | None = Field(default=None, ge=1, description="the same, by the stream's sequence")
    export_seconds: float = Field(default=60.0, ge=0, description="a segment is so old, or full")
    export_bytes: int = Field(default=8 << 20, ge=1 << 16, le=1 << 28, description="a full segment's bytes, about")
    export_poll_seconds: float = Field(default=5.0, gt=0, description="how often it is looked for what is new")
    export_behind_seconds: float = Field(default=900.0, gt=0, description="what is later than this is not ready")

    @model_validator(mode="after")
    def _one_beginning(self) -> Self:
        if self.export_from is not None and self.export_from_seq is not None:
            raise ValueError("RR_EXPORT_FROM and RR_EXPORT_FROM_SEQ are one or the other")
        if bool(self.export_access_key.get_secret_value()) != bool(self.export_secret.get_secret_value()):
            raise ValueError("RR_EXPORT_ACCESS_KEY and RR_EXPORT_SECRET go together")
        self.target()
        return self

    def target(self) -> ObjectStore:
        """Where the log is copied to; nothing is asked of it yet.

        Raises:
            ValueError: the URL names no store.
        """
        return ObjectStore.open(
            self.export_url,
            access_key=self.export_access_key.get_secret_value(),
            secret=self.export_secret.get_secret_value(),
            timeout=self.export_timeout_seconds,
        )
