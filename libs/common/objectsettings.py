"""Where a process finds the object store: one folder on one machine, or a bucket of S3 for many."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import SettingsConfigDict

from libs.common.objectstore import ObjectStore
from libs.common.secret_files import UnreadableVariable
from libs.common.settings import FileBackedSettings


class ObjectSettings(FileBackedSettings):
    """Read from `RR_…` or `RR_…_FILE`, frozen. `objects_dir` counts where `objects_url` says nothing."""

    model_config = SettingsConfigDict(env_prefix="RR_", frozen=True, extra="ignore")

    objects_url: str = Field(default="", description="file:///folder, or s3://bucket/prefix?region=…&endpoint=…")
    objects_dir: str = Field(default=".ranger/objects", description="a folder, by its path")
    objects_access_key: SecretStr = Field(
        default=SecretStr(""), description="S3's access key; none: the machine's role"
    )
    objects_secret: SecretStr = Field(default=SecretStr(""), description="S3's secret key")
    objects_timeout_seconds: float = Field(default=10.0, gt=0, le=120, description="how long a request may take")

    @model_validator(mode="after")
    def _names_a_store(self) -> Self:
        if bool(self.objects_access_key.get_secret_value()) != bool(self.objects_secret.get_secret_value()):
            raise ValueError("RR_OBJECTS_ACCESS_KEY and RR_OBJECTS_SECRET go together")
        self.store()
        return self

    @classmethod
    def read(cls) -> Self:
        """The settings of this process's environment; what is wrong is said, then the process ends."""
        try:
            return cls()
        except ValidationError as error:
            raise SystemExit(f"settings: RR_OBJECTS_…: {'; '.join(item['msg'] for item in error.errors())}") from None
        except UnreadableVariable as error:
            raise SystemExit(f"settings: {error}") from None

    def store(self) -> ObjectStore:
        """The store; nothing is asked of it yet.

        Raises:
            ValueError: the URL names none.
        """
        return ObjectStore.open(
            self.objects_url or Path(self.objects_dir).absolute().as_uri(),
            access_key=self.objects_access_key.get_secret_value(),
            secret=self.objects_secret.get_secret_value(),
            timeout=self.objects_timeout_seconds,
        )
