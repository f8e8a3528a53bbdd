"""The approvals service's settings. Durations are seconds."""

from pydantic import Field, SecretStr

from libs.common.settings import ProcessSettings


class ApprovalsSettings(ProcessSettings):
    """As every process, and how long questions and grants stand."""

    approval_valid_seconds: float = Field(default=900.0, gt=0, description="how long a grant may be used")
    approval_expires_seconds: float = Field(
        default=900.0, gt=0, description="how long a question waits whose step does not say it"
    )
    approval_revoke_seconds: float = Field(
        default=3.0, gt=0, le=8, description="how long the executor may take to confirm a revocation"
    )
    link_secret: SecretStr = Field(
        default=SecretStr(""), description="signs links to approvals; `new,old` while it is changed; none, no links"
    )
    approval_census_seconds: float = Field(default=5.0, gt=0, description="how often open approvals are counted")
