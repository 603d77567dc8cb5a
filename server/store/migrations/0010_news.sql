-- Days stay closed: what may have changed a verdict is noted as news, and a verdict of a closed day that becomes another
-- leaves a revision. The fleet's time zone may change from a day on.

-- What has not been judged since it was noted. kind: query, control, list or device. subject: the table's name, the
-- control, people or assets, or nothing. device_no 0 stands for every device. The days are those concerned, last_day
-- 9999-12-31 where it goes on. noted_seq: the commit sequence of the transaction that noted it last.
CREATE TABLE muster_news (
    kind TEXT NOT NULL CHECK (kind IN ('query', 'control', 'list', 'device')),
    subject TEXT NOT NULL,
    device_no BIGINT NOT NULL,
    first_day TEXT NOT NULL,
    last_day TEXT NOT NULL,
    detail TEXT NOT NULL,
    noted_seq BIGINT NOT NULL,
    PRIMARY KEY (kind, subject, device_no),
    CHECK (first_day <= last_day)
);

-- What was not judged yet when there were no news: the days that are open are judged again.
INSERT INTO muster_news (kind, subject, device_no, first_day, last_day, detail, noted_seq)
SELECT 'device', '', 0, o.day, '9999-12-31', 'what an earlier version had not judged yet', 0
  FROM (SELECT MIN(y.day) AS day FROM muster_days y WHERE y.state = 'open') o WHERE o.day IS NOT NULL;

-- When a day was closed first, and the packs it was judged by where somebody asked for that; null: those in force at
-- its end.
ALTER TABLE muster_days ADD COLUMN closed_at TEXT;
ALTER TABLE muster_days ADD COLUMN application BIGINT;

-- When the days closed up to now were closed was not written down: not before they ended.
UPDATE muster_days SET closed_at = ends_at WHERE state <> 'open';

DROP VIEW days;

CREATE VIEW days AS
SELECT day, starts_at, ends_at, zone, state, closed_at FROM muster_days;

-- The zone of the days from one on. The first row is of '0001-01-01'.
CREATE TABLE muster_zones (
    first_day TEXT PRIMARY KEY,
    zone TEXT NOT NULL,
    set_at TEXT NOT NULL,
    set_by TEXT NOT NULL
);

INSERT INTO muster_zones (first_day, zone, set_at, set_by)
SELECT '0001-01-01', m.value, (SELECT MIN(g.applied_at) FROM muster_migrations g), 'init'
  FROM muster_meta m WHERE m.key = 'zone';

DELETE FROM muster_meta WHERE key = 'zone';

-- Days that were being judged, and kept open by what came meanwhile: news takes their place.
DELETE FROM muster_meta WHERE key LIKE 'judging %';

-- A verdict of a closed day that became another. Equal ones of neighbouring days, made by one judging, are one row.
-- Without a before the device had no verdict there, as when it came by late data.
CREATE TABLE muster_revisions (
    control_no BIGINT NOT NULL,
    device_no BIGINT NOT NULL,
    first_day TEXT NOT NULL,
    last_day TEXT NOT NULL,
    revised_at TEXT NOT NULL,
    revised_seq BIGINT NOT NULL,
    before_status TEXT,
    before_underlying_status TEXT,
    before_lapsed SMALLINT CHECK (before_lapsed IN (0, 1)),
    before_reason TEXT,
    after_status TEXT,
    after_underlying_status TEXT,
    after_lapsed SMALLINT CHECK (after_lapsed IN (0, 1)),
    after_reason TEXT,
    cause TEXT NOT NULL CHECK (cause IN ('late_data', 'rule', 'roster', 'assets', 'exemption', 'device', 'asked')),
    detail TEXT NOT NULL,
    PRIMARY KEY (control_no, device_no, first_day, revised_seq),
    CHECK (first_day <= last_day)
);
CREATE INDEX muster_revisions_device ON muster_revisions (device_no);

CREATE VIEW posture_revisions AS
SELECT d.device_id, d.hostname, c.control, r.first_day, r.last_day, r.revised_at,
       r.before_status, r.before_underlying_status, r.before_lapsed, r.before_reason,
       r.after_status, r.after_underlying_status, r.after_lapsed, r.after_reason, r.cause, r.detail
  FROM muster_revisions r
  JOIN muster_devices d ON d.device_no = r.device_no
  JOIN muster_controls c ON c.control_no = r.control_no;
