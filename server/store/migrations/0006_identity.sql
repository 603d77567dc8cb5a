-- What tells machines apart, and where the former types of a column are kept.

-- osquery's own mark of an installation: it stays when the machine is renamed, and is new when it is installed anew.
ALTER TABLE muster_devices ADD COLUMN instance_id TEXT NOT NULL DEFAULT '';

-- A column whose type a new version of its query has changed keeps what it held under its former type, as it was.
-- A row here is such a column beside the one in use. begun_seq is set while it is being filled to be used instead.
CREATE TABLE muster_other_kinds (
    table_name TEXT NOT NULL,
    sql_name TEXT NOT NULL,
    kind TEXT NOT NULL,
    kept_in TEXT NOT NULL,
    begun_seq BIGINT,
    PRIMARY KEY (table_name, sql_name, kind)
);
