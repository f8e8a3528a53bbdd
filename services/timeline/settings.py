"""The timeline's settings."""

from pydantic import Field

from libs.common.artefacts import KINDS
from libs.common.settings import ProcessSettings


class TimelineSettings(ProcessSettings):
    """As every process, and what is the log's own. `timeline_origin` names the log for good: it stands in each leaf."""

    timeline_origin: str = Field(default="ranger.local/timeline/main", min_length=1, max_length=200)
    timeline_batch: int = Field(default=500, ge=1, le=1000, description="messages that one transaction chains")
    timeline_standby_seconds: float = Field(default=1.0, description="how often a standby tries to take over")
    timeline_recheck_seconds: float = Field(default=5.0, description="how often a frozen log looks again")
    timeline_chase_seconds: float = Field(default=1.0, description="how often a log that stands still looks for more")
    timeline_partition_seconds: float = Field(default=3600.0, description="how often the coming months are looked at")
    timeline_note_seconds: float = Field(default=10.0, description="how often the position is repeated when idle")
    keep_approval_days: int = Field(default=0, ge=0, description="artefacts older than this are deleted; 0: never")
    keep_bundle_days: int = Field(default=0, ge=0)
    keep_evidence_days: int = Field(default=0, ge=0)
    keep_output_days: int = Field(default=0, ge=0)
    keep_spec_days: int = Field(default=0, ge=0)
    keep_sweep_seconds: float = Field(default=3600.0, gt=0, description="how often it is looked for what is older")

    @property
    def kept_days(self) -> dict[str, int]:
        """For how many days artefacts are kept, by kind; what is kept for good is not in it."""
        days = {kind: int(getattr(self, f"keep_{kind}_days")) for kind in KINDS}
        return {kind: number for kind, number in days.items() if number}
