-- The first schema. Public names are views, so that what lies below may change its shape.

CREATE TABLE muster_meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE muster_tokens (
    token_hash TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at TEXT NOT NULL,
    revoked_at TEXT
);

CREATE TABLE muster_secrets (
    secret_hash TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TEXT NOT NULL,
    revoked_at TEXT
);

CREATE TABLE muster_devices (
    device_no BIGINT PRIMARY KEY,
    device_id TEXT NOT NULL UNIQUE,
    identity TEXT,
    hostname TEXT NOT NULL,
    hardware_uuid TEXT NOT NULL,
    serial TEXT NOT NULL,
    platform TEXT NOT NULL,
    os_name TEXT NOT NULL,
    os_version TEXT NOT NULL,
    osquery_version TEXT NOT NULL,
    owner TEXT NOT NULL DEFAULT '',
    tags TEXT NOT NULL DEFAULT '',
    in_scope_from TEXT NOT NULL,
    enrolled_at TEXT NOT NULL,
    last_seen_at TEXT NOT NULL,
    retired_at TEXT
);
CREATE UNIQUE INDEX muster_devices_identity ON muster_devices (identity) WHERE identity IS NOT NULL;

CREATE TABLE muster_device_facts (
    device_no BIGINT NOT NULL,
    valid_from TEXT NOT NULL,
    valid_to TEXT,
    hostname TEXT NOT NULL,
    platform TEXT NOT NULL,
    os_name TEXT NOT NULL,
    os_version TEXT NOT NULL,
    osquery_version TEXT NOT NULL,
    opened_seq BIGINT NOT NULL,
    PRIMARY KEY (device_no, opened_seq)
);

CREATE TABLE muster_node_keys (
    key_hash TEXT PRIMARY KEY,
    device_no BIGINT NOT NULL,
    issued_at TEXT NOT NULL,
    revoked_at TEXT,
    host_identifier TEXT NOT NULL
);
CREATE INDEX muster_node_keys_device ON muster_node_keys (device_no);

-- A query as it was named by those who sent its answers, and the table they are kept in.
CREATE TABLE muster_queries (
    query TEXT PRIMARY KEY,
    table_name TEXT NOT NULL UNIQUE,
    managed SMALLINT NOT NULL CHECK (managed IN (0, 1)),
    mode TEXT NOT NULL,
    created_at TEXT NOT NULL
);

CREATE TABLE muster_columns (
    table_name TEXT NOT NULL,
    position BIGINT NOT NULL,
    name TEXT NOT NULL,
    sql_name TEXT NOT NULL,
    kind TEXT NOT NULL,
    volatile SMALLINT NOT NULL CHECK (volatile IN (0, 1)),
    PRIMARY KEY (table_name, sql_name)
);

CREATE TABLE muster_query_versions (
    query TEXT NOT NULL,
    version TEXT NOT NULL,
    platforms TEXT NOT NULL,
    mode TEXT NOT NULL,
    sql TEXT NOT NULL,
    columns TEXT NOT NULL,
    first_served_at TEXT NOT NULL,
    PRIMARY KEY (query, version)
);

-- The instants at which a device said something of a query; version is empty where the query is not known to be ours.
CREATE TABLE muster_instants (
    device_no BIGINT NOT NULL,
    table_name TEXT NOT NULL,
    at TEXT NOT NULL,
    status TEXT NOT NULL,
    version TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    PRIMARY KEY (device_no, table_name, at)
);

-- Runs of differentials, kept so that late and repeated pieces of them end in the same state.
CREATE TABLE muster_runs_received (
    device_no BIGINT NOT NULL,
    table_name TEXT NOT NULL,
    at TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    counter BIGINT NOT NULL,
    version TEXT NOT NULL,
    whole SMALLINT NOT NULL CHECK (whole IN (0, 1)),
    added TEXT NOT NULL,
    removed TEXT NOT NULL,
    PRIMARY KEY (device_no, table_name, at, epoch, counter)
);

CREATE TABLE muster_coverage (
    device_no BIGINT NOT NULL,
    table_name TEXT NOT NULL,
    first_at TEXT NOT NULL,
    last_at TEXT NOT NULL,
    status TEXT NOT NULL,
    basis TEXT NOT NULL,
    message TEXT,
    PRIMARY KEY (device_no, table_name, first_at)
);

CREATE TABLE muster_status_logs (
    device_no BIGINT NOT NULL,
    at TEXT NOT NULL,
    digest TEXT NOT NULL,
    ordinal BIGINT NOT NULL,
    severity BIGINT NOT NULL,
    filename TEXT NOT NULL,
    line BIGINT NOT NULL,
    message TEXT NOT NULL,
    version TEXT NOT NULL,
    PRIMARY KEY (device_no, at, digest, ordinal)
);

CREATE TABLE muster_rejects (
    device_no BIGINT NOT NULL,
    digest TEXT NOT NULL,
    rejected_at TEXT NOT NULL,
    query TEXT NOT NULL,
    reason TEXT NOT NULL,
    sample TEXT NOT NULL,
    PRIMARY KEY (device_no, digest)
);

CREATE TABLE muster_days (
    day TEXT PRIMARY KEY,
    starts_at TEXT NOT NULL,
    ends_at TEXT NOT NULL,
    zone TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'closed', 'sealed'))
);

CREATE TABLE muster_controls (
    control_no BIGINT PRIMARY KEY,
    control TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    severity TEXT NOT NULL
);

-- What a control was judged by on a day, once for all devices.
CREATE TABLE muster_evaluation (
    control_no BIGINT NOT NULL,
    day TEXT NOT NULL,
    rule_version TEXT NOT NULL,
    evaluated_at TEXT NOT NULL,
    PRIMARY KEY (control_no, day)
);

-- Equal verdicts of consecutive days; last_day is null while the run goes on.
CREATE TABLE muster_verdicts (
    device_no BIGINT NOT NULL,
    control_no BIGINT NOT NULL,
    first_day TEXT NOT NULL,
    last_day TEXT,
    status TEXT NOT NULL,
    underlying_status TEXT NOT NULL,
    lapsed SMALLINT NOT NULL CHECK (lapsed IN (0, 1)),
    reason TEXT,
    PRIMARY KEY (control_no, device_no, first_day)
);
CREATE INDEX muster_verdicts_days ON muster_verdicts (first_day, last_day);
CREATE INDEX muster_verdicts_device ON muster_verdicts (device_no);

CREATE TABLE muster_exemptions (
    exemption_id TEXT PRIMARY KEY,
    device_no BIGINT NOT NULL,
    control TEXT NOT NULL,
    first_day TEXT NOT NULL,
    last_day TEXT NOT NULL,
    reason TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    approved_by TEXT NOT NULL,
    granted_at TEXT NOT NULL,
    CHECK (first_day <= last_day),
    CHECK (requested_by <> approved_by)
);

CREATE VIEW devices AS
SELECT device_id, hostname, hardware_uuid, serial, platform, os_name, os_version, osquery_version, owner, tags,
       in_scope_from, enrolled_at, last_seen_at, retired_at
  FROM muster_devices;

CREATE VIEW devices_history AS
SELECT d.device_id, f.hostname, f.platform, f.os_name, f.os_version, f.osquery_version, f.valid_from, f.valid_to
  FROM muster_device_facts f JOIN muster_devices d ON d.device_no = f.device_no;

CREATE VIEW coverage AS
SELECT d.device_id, d.hostname, q.query, c.first_at, c.last_at, c.status, c.basis, c.message
  FROM muster_coverage c
  JOIN muster_devices d ON d.device_no = c.device_no
  JOIN muster_queries q ON q.table_name = c.table_name;

CREATE VIEW days AS
SELECT day, starts_at, ends_at, zone, state FROM muster_days;

CREATE VIEW status_logs AS
SELECT d.device_id, d.hostname, s.at, s.severity, s.filename, s.line, s.message, s.version
  FROM muster_status_logs s JOIN muster_devices d ON d.device_no = s.device_no;

CREATE VIEW rejects AS
SELECT d.device_id, d.hostname, r.rejected_at, r.query, r.reason, r.sample
  FROM muster_rejects r JOIN muster_devices d ON d.device_no = r.device_no;

CREATE VIEW exemptions AS
SELECT e.exemption_id, d.device_id, d.hostname, e.control, e.first_day, e.last_day, e.reason, e.requested_by,
       e.approved_by, e.granted_at
  FROM muster_exemptions e JOIN muster_devices d ON d.device_no = e.device_no;

CREATE VIEW posture_runs AS
SELECT d.device_id, d.hostname, c.control, v.first_day,
       COALESCE(v.last_day, (SELECT MAX(e.day) FROM muster_evaluation e WHERE e.control_no = v.control_no)) AS last_day,
       v.status, v.underlying_status, v.lapsed, v.reason
  FROM muster_verdicts v
  JOIN muster_devices d ON d.device_no = v.device_no
  JOIN muster_controls c ON c.control_no = v.control_no;

CREATE VIEW posture AS
SELECT e.day, d.device_id, d.hostname, c.control, v.status, v.underlying_status, v.lapsed, v.reason,
       v.first_day AS since_day, CASE WHEN y.state = 'open' THEN 1 ELSE 0 END AS provisional
  FROM muster_evaluation e
  JOIN muster_days y ON y.day = e.day
  JOIN muster_verdicts v
    ON v.control_no = e.control_no AND v.first_day <= e.day AND (v.last_day IS NULL OR v.last_day >= e.day)
  JOIN muster_devices d ON d.device_no = v.device_no
  JOIN muster_controls c ON c.control_no = e.control_no;

CREATE VIEW posture_totals AS
SELECT e.day, c.control, v.status, COUNT(*) AS devices
  FROM muster_evaluation e
  JOIN muster_verdicts v
    ON v.control_no = e.control_no AND v.first_day <= e.day AND (v.last_day IS NULL OR v.last_day >= e.day)
  JOIN muster_controls c ON c.control_no = e.control_no
 GROUP BY e.day, c.control, v.status;
