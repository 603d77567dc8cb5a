-- Devices are asked by distributed query: what their schedule left unanswered, and what a person wants to know now.

-- Since when a device has been in contact without a longer gap, up to last_seen_at.
ALTER TABLE muster_devices ADD COLUMN awake_since TEXT;

DROP VIEW devices;

CREATE VIEW devices AS
SELECT device_id, hostname, hardware_uuid, serial, platform, os_name, os_version, osquery_version, owner, tags,
       in_scope_from, NULLIF(enrolled_at, '') AS enrolled_at, NULLIF(last_seen_at, '') AS last_seen_at, retired_at,
       awake_since
  FROM muster_devices;

-- A question: a version of a query, put to a device.
-- asked_at: when it was decided. ask_at: from when on it is to be sent, for the first time or again.
-- day: the fleet's day whose answer was missing, or on which a person asked. sent: how many times, sent_at the last.
-- outcome: null while it is open.
CREATE TABLE muster_asked (
    device_no BIGINT NOT NULL,
    table_name TEXT NOT NULL,
    asked_at TEXT NOT NULL,
    version TEXT NOT NULL,
    day TEXT NOT NULL,
    why TEXT NOT NULL CHECK (why IN ('guarantee', 'asked')),
    asked_by TEXT NOT NULL,
    ask_at TEXT NOT NULL,
    sent BIGINT NOT NULL,
    sent_at TEXT,
    answered_at TEXT,
    outcome TEXT CHECK (outcome IN ('answered', 'failed', 'denylisted', 'stopped', 'unanswered', 'not_picked_up',
                                    'not_needed', 'withdrawn')),
    message TEXT,
    PRIMARY KEY (device_no, table_name, asked_at)
);
CREATE INDEX muster_asked_open ON muster_asked (ask_at) WHERE outcome IS NULL;

CREATE VIEW posture_asked AS
SELECT d.device_id, d.hostname, q.query, a.version, a.day, a.why, a.asked_by, a.asked_at, a.ask_at, a.sent, a.sent_at,
       a.answered_at, a.outcome, a.message
  FROM muster_asked a
  JOIN muster_devices d ON d.device_no = a.device_no
  JOIN muster_queries q ON q.table_name = a.table_name;
