"""The gateway's settings."""

from pydantic import Field

from libs.common.contracts.alert import MAX_BODY_BYTES
from libs.common.settings import ProcessSettings


class GatewaySettings(ProcessSettings):
    """As every process, and where the public face listens. There is no CORS: no other origin is ever allowed."""

    gateway_host: str = "127.0.0.1"
    gateway_port: int = Field(default=8080, ge=0, le=65535, description="0 takes a free one")
    gateway_body_bytes: int = Field(default=MAX_BODY_BYTES, ge=1024, le=4 << 20, description="largest request body")
    gateway_body_seconds: float = Field(default=10.0, gt=0, description="how long a sender may take for a body")
    gateway_streams: int = Field(default=500, ge=1, description="clients that may follow the events at once")
