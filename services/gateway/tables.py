"""The gateway's schema: credentials that it gives out or has seen used. No secret stands in it, only hashes.

`redaction_asked` has what was asked of the timeline until the log is told of it (`evidence/redactions.py`).
`signed_post` and `denial` are memories of minutes: what was taken cannot be taken again, what was told is not told
again. Rows that can matter no more are deleted (`principals/upkeep.py`).
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from libs.common.tables import MOMENT, substrate

metadata = MetaData()
substrate(metadata)

api_token = Table(
    "api_token",
    metadata,
    Column("token_id", Uuid, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("tenants", ARRAY(Text), nullable=False),
    Column("roles", ARRAY(Text), nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("environments", ARRAY(Text), nullable=False),
    Column("groups", ARRAY(Text), nullable=False),
    Column("clearance", Integer, nullable=False),
    Column("made_with", Uuid),
    Column("created_at", MOMENT, nullable=False),
    Column("expires_at", MOMENT, nullable=False),
    Column("revoked_at", MOMENT),
    Column("revoked_by", Text),
    Column("last_used_at", MOMENT),
    CheckConstraint("length(digest) = 32", name="ck_api_token_digest"),
    CheckConstraint("expires_at > created_at", name="ck_api_token_expiry"),
    Index("ix_api_token_owner", "owner", "token_id"),
    Index("ix_api_token_tenants", "tenants", postgresql_using="gin"),
    Index("ix_api_token_made_with", "made_with", postgresql_where=text("made_with IS NOT NULL")),
)

break_glass = Table(
    "break_glass",
    metadata,
    Column("activation_id", Uuid, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("actor", Text, nullable=False),
    Column("tenant_id", Text, nullable=False),
    Column("rationale", Text, nullable=False),
    Column("began_at", MOMENT, nullable=False),
    Column("until", MOMENT, nullable=False),
    Index("ix_break_glass_digest", "digest", "until"),
)

signed_post = Table(
    "signed_post",
    metadata,
    Column("sender", Text, primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    Column("seen_at", MOMENT, nullable=False, server_default=func.clock_timestamp()),
    Index("ix_signed_post_seen", "seen_at"),
)

denial = Table(
    "denial",
    metadata,
    Column("denial_id", Uuid, primary_key=True),
    Column("noted_at", MOMENT, nullable=False, server_default=func.clock_timestamp()),
    Index("ix_denial_noted", "noted_at"),
)

feature_flag = Table(
    "feature_flag",
    metadata,
    Column("name", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("tenants", ARRAY(Text), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("changed_at", MOMENT, nullable=False),
    Column("rationale", Text, nullable=False),
    CheckConstraint("state IN ('on', 'off', 'listed')", name="ck_feature_flag_state"),
)

redaction_asked = Table(
    "redaction_asked",
    metadata,
    Column("asking_id", Uuid, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("request_key", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("question", LargeBinary, nullable=False),
    Column("asked_at", MOMENT, nullable=False, server_default=func.clock_timestamp()),
)
