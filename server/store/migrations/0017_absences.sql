-- Devices that had left and came back: on a day that lies between they were not of the fleet, whenever it is judged.
CREATE TABLE muster_absences (
    device_no BIGINT NOT NULL,
    left_at TEXT NOT NULL,
    back_at TEXT NOT NULL,
    PRIMARY KEY (device_no, left_at)
);
