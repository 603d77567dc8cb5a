-- The collector: a second agent on a device, with a node key of its own, whose batches are each counted once.

-- Whose key it is: osquery's or the collector's. One is no good where the other is wanted.
ALTER TABLE muster_node_keys ADD COLUMN kind TEXT NOT NULL DEFAULT 'osquery' CHECK (kind IN ('osquery', 'collector'));

-- What the machine called itself when it got the key.
ALTER TABLE muster_node_keys ADD COLUMN hostname TEXT NOT NULL DEFAULT '';

UPDATE muster_node_keys SET hostname = (
    SELECT d.hostname FROM muster_devices d WHERE d.device_no = muster_node_keys.device_no
) WHERE revoked_at IS NULL AND EXISTS (SELECT 1 FROM muster_devices d WHERE d.device_no = muster_node_keys.device_no);

-- How far a numbering of a device's lines (its spool, in one lane) has been delivered, and by which batch.
CREATE TABLE muster_batches (
    device_no BIGINT NOT NULL,
    spool TEXT NOT NULL,
    lane TEXT NOT NULL,
    through BIGINT NOT NULL,
    batch TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (device_no, spool, lane)
);

-- Lines that a device lost before they were delivered. query: empty for status lines, * where it is not known of which.
-- lines, bytes: null where nobody knows. first_at, last_at: between when they were observed.
CREATE TABLE muster_gaps (
    device_no BIGINT NOT NULL,
    digest TEXT NOT NULL,
    query TEXT NOT NULL,
    lines BIGINT,
    bytes BIGINT,
    first_at TEXT NOT NULL,
    last_at TEXT NOT NULL,
    reason TEXT NOT NULL,
    noted_at TEXT NOT NULL,
    PRIMARY KEY (device_no, digest)
);
CREATE INDEX muster_gaps_last ON muster_gaps (device_no, last_at);

-- What is known of a device's collector. last_seen_at is exact to some seconds.
CREATE TABLE muster_collectors (
    device_no BIGINT PRIMARY KEY,
    version TEXT NOT NULL,
    enrolled_at TEXT NOT NULL,
    last_seen_at TEXT NOT NULL,
    connected SMALLINT NOT NULL DEFAULT 0 CHECK (connected IN (0, 1)),
    backlog_lines BIGINT,
    backlog_bytes BIGINT,
    oldest_unsent_at TEXT,
    serves_config SMALLINT NOT NULL DEFAULT 0 CHECK (serves_config IN (0, 1)),
    policy TEXT NOT NULL DEFAULT ''
);

CREATE VIEW posture_collectors AS
SELECT d.device_id, d.hostname, c.version, c.enrolled_at, c.last_seen_at, c.connected, c.backlog_lines, c.backlog_bytes,
       c.oldest_unsent_at, c.serves_config, c.policy
  FROM muster_collectors c JOIN muster_devices d ON d.device_no = c.device_no
 WHERE d.retired_at IS NULL;

CREATE VIEW posture_collector_gaps AS
SELECT d.device_id, d.hostname, g.query, g.lines, g.bytes, g.first_at, g.last_at, g.reason, g.noted_at
  FROM muster_gaps g JOIN muster_devices d ON d.device_no = g.device_no;
