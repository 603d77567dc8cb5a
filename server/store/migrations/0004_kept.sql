-- Coverage tells the version too, so that judging needs no instants; instants can be thinned, what is old deleted,
-- devices erased, and each of these leaves its count.

-- 1: between the instant before and this one others of the same values were dropped.
ALTER TABLE muster_instants ADD COLUMN thinned SMALLINT NOT NULL DEFAULT 0;
-- 1: known only to within the gap its query allows, for what was around it had been thinned when it came.
ALTER TABLE muster_instants ADD COLUMN approximate SMALLINT NOT NULL DEFAULT 0;

-- 1: the runs before this one were dropped.
ALTER TABLE muster_runs_received ADD COLUMN horizon SMALLINT NOT NULL DEFAULT 0;

ALTER TABLE muster_coverage ADD COLUMN version TEXT NOT NULL DEFAULT '';
ALTER TABLE muster_coverage ADD COLUMN approximate SMALLINT NOT NULL DEFAULT 0;

-- The stretches are cut where the version changes. Within one every gap is allowed, so no gap needs to be known here.
CREATE TABLE muster_stretches (
    device_no BIGINT NOT NULL,
    table_name TEXT NOT NULL,
    first_at TEXT NOT NULL,
    last_at TEXT NOT NULL,
    status TEXT NOT NULL,
    basis TEXT NOT NULL,
    message TEXT,
    version TEXT NOT NULL
);

INSERT INTO muster_stretches (device_no, table_name, first_at, last_at, status, basis, message, version)
SELECT s.device_no, s.table_name, MIN(s.said_at), MAX(s.said_at), s.status, s.basis, s.message, s.version
  FROM (SELECT c.device_no, c.table_name, c.first_at, c.status, c.basis, c.message, i.version, i.at AS said_at,
               ROW_NUMBER() OVER (PARTITION BY c.device_no, c.table_name, c.first_at ORDER BY i.at)
               - ROW_NUMBER() OVER (PARTITION BY c.device_no, c.table_name, c.first_at, i.version ORDER BY i.at)
               AS island
          FROM muster_coverage c
          JOIN muster_instants i ON i.device_no = c.device_no AND i.table_name = c.table_name
           AND i.at >= c.first_at AND i.at <= c.last_at) s
 GROUP BY s.device_no, s.table_name, s.first_at, s.status, s.basis, s.message, s.version, s.island;

DELETE FROM muster_coverage;

INSERT INTO muster_coverage (device_no, table_name, first_at, last_at, status, basis, message, version)
SELECT device_no, table_name, first_at, last_at, status, basis, message, version FROM muster_stretches;

DROP TABLE muster_stretches;

DROP VIEW coverage;

CREATE VIEW coverage AS
SELECT d.device_id, d.hostname, q.query, c.first_at, c.last_at, c.status, c.basis, c.message, c.version, c.approximate
  FROM muster_coverage c
  JOIN muster_devices d ON d.device_no = c.device_no
  JOIN muster_queries q ON q.table_name = c.table_name;

-- What an audit needs is not deleted while a hold on its days is open.
CREATE TABLE muster_holds (
    hold_id TEXT PRIMARY KEY,
    first_day TEXT NOT NULL,
    last_day TEXT NOT NULL,
    -- The instants between which rows and coverage are kept: from as far before the first day as verdicts look back.
    starts_at TEXT NOT NULL,
    ends_at TEXT NOT NULL,
    -- Before this instant rows had been deleted already when the hold was made.
    whole_from TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at TEXT NOT NULL,
    ended_at TEXT,
    CHECK (first_day <= last_day)
);

-- One row per deletion: of what, up to when, how many. device_id is empty unless it was for one device.
CREATE TABLE muster_deletions (
    what TEXT NOT NULL,
    reason TEXT NOT NULL,
    device_id TEXT NOT NULL,
    up_to TEXT NOT NULL,
    how_many BIGINT NOT NULL,
    first_at TEXT NOT NULL,
    last_at TEXT NOT NULL,
    PRIMARY KEY (what, reason, device_id, up_to)
);

CREATE VIEW deletions AS
SELECT what, reason, device_id, up_to, how_many, first_at, last_at FROM muster_deletions;

-- What is left of an erased device beside its row, which tells no more than that it was there, and its verdicts.
ALTER TABLE muster_devices ADD COLUMN erased_at TEXT;

CREATE TABLE muster_erasures (
    device_no BIGINT PRIMARY KEY,
    device_id TEXT NOT NULL,
    existed_from TEXT NOT NULL,
    existed_to TEXT NOT NULL,
    requested_at TEXT NOT NULL,
    finished_at TEXT,
    erased_by TEXT NOT NULL,
    reason TEXT NOT NULL
);

CREATE VIEW erasures AS
SELECT e.device_id, e.existed_from, e.existed_to, e.requested_at, e.finished_at, e.erased_by, e.reason,
       CAST(COALESCE((SELECT SUM(n.how_many) FROM muster_deletions n
                       WHERE n.device_id = e.device_id AND n.reason = 'erasure'), 0) AS BIGINT) AS how_many
  FROM muster_erasures e;
