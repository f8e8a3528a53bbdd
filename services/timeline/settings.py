"""The timeline's settings."""

from pydantic import Field

from libs.common.artefacts import KINDS
from libs.common.settings import ProcessSettings


class TimelineSettings(ProcessSettings):
    """As every process, and what is the log's own. `timeline_origin` names the log for good: it stands in each leaf."""

    timeline_origin: str = Field(default="ranger.local/timeline/main", min_length=1, max_length=200)
    timeline_key_file: str = Field(
        default="", description="private keys that sign checkpoints: a file, or several by :"
    )
    bundle_key_file: str = Field(default="", description="the private key that seals evidence bundles, another one")
    witness_vkeys: str = Field(default="", description="public keys of witnesses whose cosignatures are kept")
    bundle_bytes: int = Field(
        default=256 << 20, ge=1 << 20, le=1 << 29, description="what a bundle holds at most, payloads and objects"
    )
    bundle_object_bytes: int = Field(default=64 << 20, ge=0, description="the largest object that a bundle holds")
    bundle_wait_seconds: float = Field(default=5.0, ge=0, le=30, description="how long a bundle waits for a checkpoint")
    bundle_seconds: float = Field(default=45.0, gt=0, le=300, description="how long one may take to make")
    timeline_batch: int = Field(default=250, ge=1, le=1000, description="messages that one transaction chains")
    timeline_standby_seconds: float = Field(default=1.0, description="how often a standby tries to take over")
    timeline_recheck_seconds: float = Field(default=5.0, description="how often a frozen log looks again")
    timeline_chase_seconds: float = Field(default=1.0, description="how often a log that stands still looks for more")
    timeline_heartbeat_seconds: float = Field(default=3600.0, ge=0, description="the log says that it lives; 0: never")
    timeline_control_seconds: float = Field(default=0.5, gt=0, description="how often the log looks what to say")
    timeline_checkpoint_seconds: float = Field(default=0.9, gt=0, le=60, description="a checkpoint at most so often")
    timeline_published_seconds: float = Field(
        default=30.0, gt=0, description="how often what is published is looked at"
    )
    timeline_lock_seconds: float = Field(default=3.0, ge=1, description="a writer that is silent so long is replaced")
    timeline_partition_seconds: float = Field(default=3600.0, description="how often the coming months are looked at")
    timeline_note_seconds: float = Field(default=10.0, description="how often the position is repeated when idle")
    timeline_shred_seconds: float = Field(default=0.5, gt=0, description="how often redacted objects are looked for")
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
