-- What people are told of: each thing once, grouped into messages, and how the sending of these went.

-- subject tells things of one kind apart. message_no is null until a message has it, and 0 where nobody was to be told.
CREATE TABLE muster_alerts (
    kind TEXT NOT NULL CHECK (kind IN ('failing', 'silent', 'exemption_expiring', 'canary_stopped')),
    subject TEXT NOT NULL,
    device_no BIGINT NOT NULL,
    control TEXT NOT NULL,
    severity TEXT NOT NULL,
    day TEXT NOT NULL,
    detail TEXT NOT NULL,
    raised_at TEXT NOT NULL,
    message_no BIGINT,
    PRIMARY KEY (kind, subject)
);
CREATE INDEX muster_alerts_of ON muster_alerts (device_no, control, day);
CREATE INDEX muster_alerts_waiting ON muster_alerts (raised_at) WHERE message_no IS NULL;

CREATE TABLE muster_alert_messages (
    message_no BIGINT PRIMARY KEY,
    message_id TEXT NOT NULL UNIQUE,
    made_at TEXT NOT NULL,
    alerts BIGINT NOT NULL,
    body TEXT NOT NULL
);

-- A message on its way over a channel: neither delivered nor given up, it is tried at next_at.
CREATE TABLE muster_alert_deliveries (
    message_no BIGINT NOT NULL,
    channel TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    next_at TEXT NOT NULL,
    delivered_at TEXT,
    given_up_at TEXT,
    error TEXT NOT NULL,
    PRIMARY KEY (message_no, channel)
);
CREATE INDEX muster_alert_deliveries_due ON muster_alert_deliveries (next_at)
 WHERE delivered_at IS NULL AND given_up_at IS NULL;

CREATE VIEW posture_alerts AS
SELECT a.kind, d.device_id, d.hostname, a.control, a.severity, a.day, a.detail, a.raised_at, m.message_id,
       (SELECT MIN(s.delivered_at) FROM muster_alert_deliveries s WHERE s.message_no = a.message_no) AS delivered_at
  FROM muster_alerts a
  LEFT JOIN muster_devices d ON d.device_no = a.device_no
  LEFT JOIN muster_alert_messages m ON m.message_no = a.message_no;
