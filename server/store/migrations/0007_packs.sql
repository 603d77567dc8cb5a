-- What was put into force of packs, by whom and when; any of it can be put into force again.

-- Each folder of packs once, whole: the archive is compressed, in base64.
CREATE TABLE muster_pack_contents (
    hash TEXT PRIMARY KEY,
    archive TEXT NOT NULL
);

-- origin: shipped (with Muster), folder (of serve or init), apply, rollback.
-- canary: the share (5%) or tag (tag=eng) it began with, null if it was for all from the start.
-- replaces: what was in force for all when it came. restores: of a rollback, whose content it is.
CREATE TABLE muster_applications (
    number BIGINT PRIMARY KEY,
    hash TEXT NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('shipped', 'folder', 'apply', 'rollback')),
    applied_by TEXT NOT NULL,
    applied_at TEXT NOT NULL,
    note TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('canary', 'applied', 'stopped', 'superseded')),
    canary TEXT,
    replaces BIGINT,
    restores BIGINT,
    promoted_by TEXT,
    promoted_at TEXT,
    ended_at TEXT,
    stopped_by TEXT,
    stop_reason TEXT
);

-- The devices of a canary. They stay in it until it ends.
CREATE TABLE muster_canary_devices (
    number BIGINT NOT NULL,
    device_no BIGINT NOT NULL,
    joined_at TEXT NOT NULL,
    PRIMARY KEY (number, device_no)
);

-- The config each device was served last: the application it is of, and the hash that osquery_info has for it.
CREATE TABLE muster_served (
    device_no BIGINT PRIMARY KEY,
    number BIGINT NOT NULL,
    config_hash TEXT NOT NULL,
    since TEXT NOT NULL
);

-- What each running server has in force, and what kept it from loading what it should have.
CREATE TABLE muster_servers (
    server TEXT PRIMARY KEY,
    number BIGINT NOT NULL,
    canary BIGINT,
    loaded_at TEXT NOT NULL,
    seen_at TEXT NOT NULL,
    problem TEXT
);

-- The version of the rule by which a canary's devices were judged, where it is another; rule_version is empty for a
-- control that only the canary has.
ALTER TABLE muster_evaluation ADD COLUMN canary_version TEXT;
