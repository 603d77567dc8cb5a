-- Exemptions of tags and persons beside devices, asked for and approved in two steps, and revoked.

DROP VIEW exemptions;

CREATE TABLE muster_exemptions_before AS SELECT * FROM muster_exemptions;
DROP TABLE muster_exemptions;

-- scope and subject: a device and its id, a tag, or a person as the roster has them (an owner, where it has not).
-- device_no is set for a device only. asked_from: the first day that was asked for, null for as soon as approved.
-- first_day: of one that is only requested, the earliest it could have.
-- revoked_day: the first day it covers no more. The tokens are those of the API; null where a command was used.
CREATE TABLE muster_exemptions (
    exemption_id TEXT PRIMARY KEY,
    control TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('device', 'tag', 'person')),
    subject TEXT NOT NULL,
    device_no BIGINT,
    state TEXT NOT NULL CHECK (state IN ('requested', 'approved', 'rejected', 'revoked')),
    asked_from TEXT,
    first_day TEXT NOT NULL,
    last_day TEXT NOT NULL,
    reason TEXT NOT NULL,
    risk TEXT,
    compensating_control TEXT,
    link TEXT,
    requested_by TEXT NOT NULL,
    requested_at TEXT NOT NULL,
    request_token TEXT,
    approved_by TEXT,
    granted_at TEXT,
    rejected_by TEXT,
    rejected_at TEXT,
    rejection_reason TEXT,
    decision_token TEXT,
    revoked_by TEXT,
    revoked_at TEXT,
    revoked_day TEXT,
    revocation_reason TEXT,
    revocation_token TEXT,
    CHECK (first_day <= last_day),
    CHECK (requested_by <> approved_by),
    CHECK (state NOT IN ('approved', 'revoked') OR (approved_by IS NOT NULL AND granted_at IS NOT NULL))
);
CREATE INDEX muster_exemptions_days ON muster_exemptions (last_day);

INSERT INTO muster_exemptions (exemption_id, control, scope, subject, device_no, state, first_day, last_day, reason,
                               requested_by, requested_at, approved_by, granted_at)
SELECT b.exemption_id, b.control, 'device', d.device_id, b.device_no, 'approved', b.first_day, b.last_day, b.reason,
       b.requested_by, b.granted_at, b.approved_by, b.granted_at
  FROM muster_exemptions_before b JOIN muster_devices d ON d.device_no = b.device_no;

DROP TABLE muster_exemptions_before;

-- The devices an approved exemption covers, and on which days: whoever gets the tag or the device is covered from then
-- on, whoever loses it no more; the days before stay as they were.
CREATE TABLE muster_exempted (
    exemption_id TEXT NOT NULL,
    device_no BIGINT NOT NULL,
    control TEXT NOT NULL,
    first_day TEXT NOT NULL,
    last_day TEXT NOT NULL,
    PRIMARY KEY (exemption_id, device_no, first_day),
    CHECK (first_day <= last_day)
);
CREATE INDEX muster_exempted_days ON muster_exempted (control, last_day);
CREATE INDEX muster_exempted_device ON muster_exempted (device_no);

INSERT INTO muster_exempted (exemption_id, device_no, control, first_day, last_day)
SELECT exemption_id, device_no, control, first_day, last_day FROM muster_exemptions;

CREATE VIEW exemptions AS
SELECT e.exemption_id, d.device_id, d.hostname, e.control, e.first_day, e.last_day, e.reason, e.requested_by,
       e.approved_by, e.granted_at, e.scope, e.subject, e.state, e.asked_from, e.risk, e.compensating_control, e.link,
       e.requested_at, e.request_token, e.decision_token, e.rejected_by, e.rejected_at, e.rejection_reason,
       e.revoked_by, e.revoked_at, e.revoked_day, e.revocation_reason, e.revocation_token
  FROM muster_exemptions e LEFT JOIN muster_devices d ON d.device_no = e.device_no;

CREATE VIEW posture_exempted AS
SELECT x.exemption_id, x.control, d.device_id, d.hostname, x.first_day, x.last_day
  FROM muster_exempted x JOIN muster_devices d ON d.device_no = x.device_no;
