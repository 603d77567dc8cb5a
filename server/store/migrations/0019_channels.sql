-- Collectors are asked over an open channel, answer one by one, say what it cost them, and may refuse.

DROP VIEW posture_asked;

CREATE TABLE muster_asked_before AS SELECT * FROM muster_asked;

DROP TABLE muster_asked;

-- A question: a version of a query, put to a device.
-- asked_at: when it was decided. ask_at: from when on it is to be sent, for the first time or again.
-- day: the fleet's day whose answer was missing, or on which a person asked. sent: how many times, sent_at the last,
-- via: how, by distributed/read of osquery's or to a collector.
-- outcome: null while it is open. The cost is that of the run that was answered: milliseconds, and bytes of memory.
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
    via TEXT CHECK (via IN ('osquery', 'collector')),
    answered_at TEXT,
    outcome TEXT CHECK (outcome IN ('answered', 'failed', 'denylisted', 'refused', 'stopped', 'unanswered',
                                    'not_picked_up', 'not_needed', 'withdrawn')),
    message TEXT,
    wall_time_ms BIGINT,
    user_time BIGINT,
    system_time BIGINT,
    memory BIGINT,
    PRIMARY KEY (device_no, table_name, asked_at)
);

INSERT INTO muster_asked (device_no, table_name, asked_at, version, day, why, asked_by, ask_at, sent, sent_at, via,
                          answered_at, outcome, message)
SELECT device_no, table_name, asked_at, version, day, why, asked_by, ask_at, sent, sent_at,
       CASE WHEN sent > 0 THEN 'osquery' END, answered_at, outcome, message
  FROM muster_asked_before;

DROP TABLE muster_asked_before;

CREATE INDEX muster_asked_open ON muster_asked (ask_at) WHERE outcome IS NULL;

CREATE VIEW posture_asked AS
SELECT d.device_id, d.hostname, q.query, a.version, a.day, a.why, a.asked_by, a.asked_at, a.ask_at, a.sent, a.sent_at,
       a.via, a.answered_at, a.outcome, a.message, a.wall_time_ms, a.user_time, a.system_time, a.memory
  FROM muster_asked a
  JOIN muster_devices d ON d.device_no = a.device_no
  JOIN muster_queries q ON q.table_name = a.table_name;

-- server: which server has the channel of a connected collector.
-- verdicts_seq: the commit sequence of the transaction that changed the device's verdicts last, for it is told of them.
ALTER TABLE muster_collectors ADD COLUMN server TEXT;
ALTER TABLE muster_collectors ADD COLUMN verdicts_seq BIGINT NOT NULL DEFAULT 0;
CREATE INDEX muster_collectors_verdicts ON muster_collectors (verdicts_seq);
