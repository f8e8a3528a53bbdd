"""Which engine judges, by `RR_POLICY_ENGINE`; read once, at the process's start, so that a mistake ends it there."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from libs.common.policy.bundle import BundleRefused, PolicyBundle, folder
from libs.common.policy.engines.base import PolicyEngine
from libs.common.policy.engines.embedded import EmbeddedRego, LibraryMissing, check_library

WANTED: Final = "must be the root of an OPA: http(s)://host[:port], without a path, query or credentials"


class PolicySettings(BaseSettings):
    """`RR_POLICY_ENGINE`, `RR_OPA_URL` where OPA is asked, `RR_POLICY_DIR` for policies of one's own."""

    model_config = SettingsConfigDict(env_prefix="RR_", frozen=True, extra="ignore")

    policy_engine: Literal["embedded", "opa", "shadow"] = "embedded"
    opa_url: str = ""
    policy_dir: str = ""

    @field_validator("opa_url")
    @classmethod
    def _is_a_root(cls, value: str) -> str:
        if not value:
            return value
        try:
            url = urlsplit(value)
            named = bool(url.hostname) and (url.port is None or url.port > 0)
        except ValueError:
            raise ValueError(WANTED) from None
        bare = url.path in {"", "/"} and not (url.query or url.fragment or url.username or url.password)
        if url.scheme not in {"http", "https"} or not named or not bare or not value.isprintable() or " " in value:
            raise ValueError(WANTED)
        return value.rstrip("/")

    @model_validator(mode="after")
    def _opa_has_a_place(self) -> Self:
        if self.policy_engine != "embedded" and not self.opa_url:
            raise ValueError(f"RR_POLICY_ENGINE={self.policy_engine} needs RR_OPA_URL")
        return self


def from_settings(settings: PolicySettings | None = None) -> PolicyEngine:
    """The engine that the environment asks for; nothing is compiled or asked yet.

    Raises:
        SystemExit: a setting is wrong, or the policies are not whole; the text says which.
    """
    try:
        wanted = settings or PolicySettings()
        return _engine(wanted)
    except ValidationError as error:
        wrong = [_told(tuple(map(str, item["loc"])), item["msg"]) for item in error.errors()]
        raise SystemExit(f"settings: {'; '.join(wrong)}") from None
    except (BundleRefused, LibraryMissing) as error:
        raise SystemExit(f"policies: {error}") from None


def _engine(wanted: PolicySettings) -> PolicyEngine:
    # Where only OPA is asked its bundle counts, and ours is not looked at.
    if wanted.policy_engine == "opa":
        return _opa(wanted.opa_url)
    check_library()
    embedded = EmbeddedRego(PolicyBundle.read(Path(wanted.policy_dir) if wanted.policy_dir else folder()))
    if wanted.policy_engine == "embedded":
        return embedded
    from libs.common.policy.engines.shadow import Shadow  # only where two are asked

    return Shadow(embedded, _opa(wanted.opa_url))


def _opa(url: str) -> PolicyEngine:
    from libs.common.policy.engines.opa import OpaHttp  # only where OPA is asked

    return OpaHttp(url)


def _told(where: tuple[str, ...], message: str) -> str:
    return f"RR_{'_'.join(where).upper()}: {message}" if where else message
