-- How far devices' clocks are ahead of ours, and which of their seconds were dated otherwise than they said.
-- Columns named …_at of a device's clock are what it showed; first_read_at, last_read_at and dated_at are our time.

CREATE TABLE muster_clocks (
    device_no BIGINT NOT NULL,
    first_read_at TEXT NOT NULL,
    last_read_at TEXT NOT NULL,
    booted_at TEXT,
    first_at TEXT NOT NULL,
    last_at TEXT NOT NULL,
    ahead_least BIGINT NOT NULL,
    ahead_most BIGINT NOT NULL,
    wrong SMALLINT NOT NULL CHECK (wrong IN (0, 1)),
    PRIMARY KEY (device_no, first_read_at)
);

-- A device has none until its clock is found to be off. From then on every second that was dated lies in one.
CREATE TABLE muster_clock_stretches (
    device_no BIGINT NOT NULL,
    first_at TEXT NOT NULL,
    last_at TEXT NOT NULL,
    ahead BIGINT NOT NULL,
    basis TEXT NOT NULL CHECK (basis IN ('measured', 'received', 'unsure', 'device')),
    dated_at TEXT NOT NULL,
    PRIMARY KEY (device_no, first_at)
);

CREATE VIEW clocks AS
SELECT d.device_id, d.hostname, c.first_read_at, c.last_read_at, c.booted_at, c.ahead_least, c.ahead_most, c.wrong
  FROM muster_clocks c JOIN muster_devices d ON d.device_no = c.device_no;

CREATE VIEW clock_stretches AS
SELECT d.device_id, d.hostname, s.first_at, s.last_at, s.ahead, s.basis, s.dated_at
  FROM muster_clock_stretches s JOIN muster_devices d ON d.device_no = s.device_no;
