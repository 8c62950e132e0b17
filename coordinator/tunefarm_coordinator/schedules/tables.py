"""The store's tables, as the newest migration leaves them. Times are Unix seconds; JSON is canonical text."""

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=True)


def _seconds(name: str, *, nullable: bool = False) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=nullable)


def _imported() -> sa.Column[bool]:
    """Only another store has said so: what is found here takes its place."""
    return sa.Column("imported", sa.Boolean, nullable=False, server_default=sa.false())


def _agent() -> sa.Column[str]:
    """Who reported it; empty: not known, or another farm's agent."""
    return sa.Column("agent_id", sa.Text, nullable=False, server_default="")


meta = sa.Table("meta", metadata, _key("name"), sa.Column("value", sa.BigInteger, nullable=False))

models = sa.Table(
    "models",
    metadata,
    _key("model_id"),
    _text("digest"),
    _text("project"),
    _text("owner"),
    _text("name"),
    _text("document"),
    _seconds("created"),
    sa.UniqueConstraint("project", "digest"),
)

jobs = sa.Table(
    "jobs",
    metadata,
    _key("job_id"),
    _text("idempotency_key"),
    _text("spec_digest"),
    sa.Column("spec", sa.LargeBinary, nullable=False),
    sa.Column("model_id", sa.Text, sa.ForeignKey("models.model_id"), nullable=False),
    _text("project"),
    _text("owner"),
    _text("state"),
    sa.Column("summary", sa.LargeBinary, nullable=False),
    _seconds("created"),
    _seconds("ended", nullable=True),
    sa.UniqueConstraint("project", "idempotency_key"),
    sa.Index(None, "created", "job_id"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.job_id"), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    _seconds("at"),
    _text("kind"),
    _text("payload"),
)

# What a workload's identity stands for, so that a record can be replayed, checked and used for a neighbour.
workloads = sa.Table(
    "workloads",
    metadata,
    _key("workload"),
    _text("name"),
    sa.Column("flops", sa.Double, nullable=False),  # of one call; 0: not known
    sa.Column("module", sa.LargeBinary, nullable=False),  # zlib
    _text("kind"),
    _text("shapes"),
    _seconds("created"),
    _imported(),
    sa.Index(None, "kind"),
)

candidates = sa.Table(
    "candidates",
    metadata,
    _key("workload"),
    _key("identity"),
    sa.Column("trace", sa.LargeBinary, nullable=False),  # zlib
    _imported(),
)

# A target's JSON is long and stands in every record: kept once, named by its digest.
targets = sa.Table("targets", metadata, _key("target_id"), _text("json"))


def _target() -> sa.Column[str]:
    return sa.Column("target_id", sa.Text, sa.ForeignKey("targets.target_id"), nullable=False)


records = sa.Table(
    "records",
    metadata,
    _key("record_id"),
    _text("workload"),
    _target(),
    _text("identity"),
    _text("device_fingerprint"),
    _text("outcome"),
    _seconds("median", nullable=True),  # of the samples; NULL: not valid
    _text("conditions"),
    _text("project"),
    _text("job_id"),
    _text("task_name"),
    _text("source"),
    _seconds("created"),
    _agent(),
    sa.Index(None, "workload", "target_id", "median"),
    sa.Index(None, "workload", "target_id", "identity"),
)

verifications = sa.Table(
    "verifications",
    metadata,
    _key("verification_id"),
    _text("workload"),
    _target(),
    _text("identity"),
    _text("device_fingerprint"),
    sa.Column("ok", sa.Boolean, nullable=False),
    _seconds("max_rel_error", nullable=True),
    _text("message"),
    _text("job_id"),
    _seconds("created"),
    _agent(),
    sa.Index(None, "workload", "target_id"),
)

comparisons = sa.Table(
    "comparisons",
    metadata,
    _key("comparison_id"),
    _text("workload"),
    _target(),
    _text("device_fingerprint"),
    _text("results"),
    _text("job_id"),
    _seconds("created"),
    _agent(),
    sa.Index(None, "workload", "target_id"),
)


def _retracted(table: sa.Table) -> sa.Table:
    """The table's rows that were taken back, when and why: what reads the table does not meet them."""
    columns = [sa.Column(c.name, c.type, primary_key=c.primary_key, nullable=c.nullable) for c in table.c]
    return sa.Table(f"retracted_{table.name}", metadata, *columns, _seconds("retracted"), _text("reason"))


# By the table that they were taken from.
retracted = {table: _retracted(table) for table in (records, verifications, comparisons)}

# What pruned records counted: those are in one scope that differ in nothing but the candidate, its times and when.
# `ending`: "measured", "at_least", or what they failed of.
pruned_scopes = sa.Table(
    "pruned_scopes",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    _text("workload"),
    _target(),
    _text("device_fingerprint"),
    _text("source"),
    _text("ending"),
    _text("job_id"),
    _agent(),
    sa.Column("records", sa.BigInteger, nullable=False),
    sa.Index(None, "workload", "target_id"),
)

# Which records those were: another store's copy counts nothing a second time. There may be millions, so they are short.
pruned = sa.Table(
    "pruned",
    metadata,
    sa.Column("record", sa.LargeBinary, primary_key=True),  # the record's id: 32 bytes
    sa.Column("scope", sa.Integer, nullable=True),  # NULL: taken back since, counted nowhere
    _seconds("created"),
    sqlite_with_rowid=False,
)

# Devices that drain until a person puts them back.
drained = sa.Table("drained", metadata, _key("agent_id"), _key("device_id"), _text("reason"), _seconds("since"))

# What a target's reference kernel usually takes on a device. A new time is a new row with a greater number, and the old
# one goes, so that a reader can tell that something is new.
calibrations = sa.Table(
    "calibrations",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    _text("fingerprint"),
    _text("reference"),
    _seconds("seconds"),
    sa.UniqueConstraint("fingerprint", "reference"),
)

# `number` grows with every row, so that a reader can ask for the new ones alone.
devices = sa.Table(
    "devices",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),
    _text("facts"),
    sa.UniqueConstraint("fingerprint"),
)

# Who may do what. Secrets are kept as SHA-256: they are 256 random bits, which no dictionary has.
tokens = sa.Table(
    "tokens",
    metadata,
    _key("token_id"),
    _text("secret_hash"),
    _text("name"),
    sa.Column("role", sa.Integer, nullable=False),
    _text("project"),
    _seconds("created"),
    _seconds("expires", nullable=True),
    _seconds("revoked", nullable=True),
)

invites = sa.Table(
    "invites",
    metadata,
    _key("invite_id"),
    _text("secret_hash"),
    _text("labels"),
    _text("project"),
    _seconds("created"),
    _seconds("expires"),
    sa.Column("agent_id", sa.Text, nullable=True),  # that used it up
)

agents = sa.Table(
    "agents",
    metadata,
    _key("agent_id"),
    _text("key_digest"),
    _text("labels"),
    _text("project"),
    _seconds("enrolled"),
    _seconds("revoked", nullable=True),
    _text("reason"),
)
