-- Judging reads what is known of many devices on one day: the runs that go on, and those that ended since. By the device
-- first: a range of devices, of whose runs the index alone tells which are too old.
CREATE INDEX muster_verdicts_going_on ON muster_verdicts (device_no, control_no) WHERE last_day IS NULL;
CREATE INDEX muster_verdicts_ended ON muster_verdicts (device_no, last_day) WHERE last_day IS NOT NULL;
