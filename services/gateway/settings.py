"""The gateway's settings."""

from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import NoDecode

from libs.common.contracts.alert import MAX_BODY_BYTES
from libs.common.settings import ProcessSettings


class GatewaySettings(ProcessSettings):
    """As every process, and where the public face listens. There is no CORS: no other origin is ever allowed."""

    gateway_host: str = "127.0.0.1"
    gateway_port: int = Field(default=8080, ge=0, le=65535, description="0 takes a free one")
    gateway_body_bytes: int = Field(default=MAX_BODY_BYTES, ge=1024, le=4 << 20, description="largest request body")
    gateway_body_seconds: float = Field(default=10.0, gt=0, description="how long a sender may take for a body")
    gateway_streams: int = Field(default=500, ge=1, description="clients that may follow the events at once")
    token_max_days: int = Field(default=90, ge=1, le=366, description="the longest that an API token may live")
    jwt_issuers: Annotated[SecretStr, NoDecode] = Field(
        default=SecretStr("[]"), description="JSON list of identity providers"
    )
    directory_file: str = Field(default="", description="groups, rotations, clearances, disabled principals")
    break_glass_file: str = Field(default="", description="the sealed account's hash, actor and tenants")
    webhooks_file: str = Field(default="", description="senders of alerts and their secrets")
    evidence_secret: SecretStr = Field(
        default=SecretStr(""), description="signs URLs of evidence; `new,old` while it is changed; none, only S3's"
    )
    evidence_url_seconds: int = Field(
        default=300, ge=1, description="how long a URL is good that asks for nothing else"
    )
    evidence_url_max_seconds: int = Field(default=3600, ge=1, le=7 * 86400, description="the longest that one may be")
    redaction_recovery_seconds: float = Field(
        default=30.0, gt=0, description="how long a redaction may be untold before its fact is recovered"
    )
    evidence_via_gateway: bool = Field(
        default=False, description="URLs are the gateway's own although the store is S3, which people cannot reach"
    )
