-- Who works here and which machines there are, as files that were imported say, and what rules may ask of that.

CREATE TABLE muster_imports (
    import_no BIGINT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('people', 'assets')),
    file TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    imported_at TEXT NOT NULL,
    imported_by TEXT NOT NULL,
    entries BIGINT NOT NULL,
    added BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    missing BIGINT NOT NULL
);

-- What an import changed: of whom or what, and which columns. Values are told of days and statuses only.
CREATE TABLE muster_import_changes (
    import_no BIGINT NOT NULL,
    subject TEXT NOT NULL,
    change TEXT NOT NULL CHECK (change IN ('added', 'changed', 'missing', 'back')),
    detail TEXT NOT NULL,
    PRIMARY KEY (import_no, subject)
);

-- The keys are in lower case: an asset's owner is one of them. Of an erased person all but the row is gone.
CREATE TABLE muster_people (
    person TEXT PRIMARY KEY,
    person_key TEXT NOT NULL,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL,
    start TEXT,
    notice TEXT,
    last_day TEXT,
    added_at TEXT NOT NULL,
    missing_since TEXT,
    erased_at TEXT,
    erased_by TEXT NOT NULL DEFAULT '',
    erased_why TEXT NOT NULL DEFAULT ''
);
CREATE INDEX muster_people_email ON muster_people (email_key);

-- Accounts and serials in lower case, digests of keys; of accesses that were disabled, where and when.
CREATE TABLE muster_person_facts (
    person TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('account', 'serial', 'key', 'access')),
    value TEXT NOT NULL,
    says TEXT NOT NULL,
    PRIMARY KEY (person, kind, value)
);
CREATE INDEX muster_person_facts_value ON muster_person_facts (kind, value);

-- serial is in lower case, serial_shown as the file has it.
CREATE TABLE muster_assets (
    serial TEXT PRIMARY KEY,
    serial_shown TEXT NOT NULL,
    hostname TEXT NOT NULL,
    platform TEXT NOT NULL,
    model TEXT NOT NULL,
    owner TEXT NOT NULL,
    status TEXT NOT NULL,
    tags TEXT NOT NULL,
    in_scope_from TEXT,
    added_at TEXT NOT NULL,
    missing_since TEXT
);

-- What the register said from one day to another, which is not included any more.
CREATE TABLE muster_asset_history (
    serial TEXT NOT NULL,
    from_day TEXT NOT NULL,
    to_day TEXT NOT NULL,
    status TEXT NOT NULL,
    owner TEXT NOT NULL,
    owner_key TEXT NOT NULL,
    PRIMARY KEY (serial, from_day)
);
CREATE INDEX muster_asset_history_owner ON muster_asset_history (owner_key);

-- A device that never enrolled, only a register names it, has empty texts for these two instants.
CREATE INDEX muster_devices_expected ON muster_devices (serial) WHERE enrolled_at = '';

DROP VIEW devices;

CREATE VIEW devices AS
SELECT device_id, hostname, hardware_uuid, serial, platform, os_name, os_version, osquery_version, owner, tags,
       in_scope_from, NULLIF(enrolled_at, '') AS enrolled_at, NULLIF(last_seen_at, '') AS last_seen_at, retired_at
  FROM muster_devices;

CREATE VIEW people AS
SELECT p.person, p.name, p.email, p.start, p.notice, p.last_day,
       (SELECT MAX(f.says) FROM muster_person_facts f WHERE f.person = p.person AND f.kind = 'access')
       AS access_disabled_at,
       p.added_at, p.missing_since, p.erased_at
  FROM muster_people p;

CREATE VIEW people_access AS
SELECT person, value AS system, says AS disabled_at FROM muster_person_facts WHERE kind = 'access';

CREATE VIEW assets AS
SELECT serial_shown AS serial, hostname, platform, model, owner, status, tags, in_scope_from, added_at, missing_since
  FROM muster_assets;

CREATE VIEW imports AS
SELECT import_no, kind, file, sha256, imported_at, imported_by, entries, added, changed, missing FROM muster_imports;

CREATE VIEW import_changes AS
SELECT import_no, subject, change, detail FROM muster_import_changes;

-- What rules ask. An entry '*' says that there was an import at all: without one, that nobody departed means nothing.
-- An entry with from_day and to_day is one of those days, the last excluded. All are told from last_day on.

CREATE VIEW muster_departed_accounts AS
SELECT f.value AS account, MAX(p.last_day) AS last_day
  FROM muster_person_facts f JOIN muster_people p ON p.person = f.person
 WHERE f.kind = 'account'
 GROUP BY f.value
HAVING COUNT(*) = COUNT(p.last_day)
UNION ALL
SELECT DISTINCT '*', '' FROM muster_imports WHERE kind = 'people';

CREATE VIEW muster_departed_keys AS
SELECT f.value AS fingerprint, MIN(p.last_day) AS last_day
  FROM muster_person_facts f JOIN muster_people p ON p.person = f.person
 WHERE f.kind = 'key' AND p.last_day IS NOT NULL
 GROUP BY f.value
UNION ALL
SELECT DISTINCT '*', '' FROM muster_imports WHERE kind = 'people';

CREATE VIEW muster_asset_register AS
SELECT serial, status, owner, from_day, to_day FROM muster_asset_history
UNION ALL
SELECT DISTINCT '*', '', '', '', '9999-12-31' FROM muster_imports WHERE kind = 'assets';

-- Somebody who came back under another number is not departed, and a device that the register gives to somebody else
-- is not theirs any more.
CREATE VIEW muster_departed_devices AS
SELECT h.serial, p.last_day, h.from_day, h.to_day
  FROM muster_asset_history h
  JOIN muster_people p ON p.last_day IS NOT NULL AND (p.email_key = h.owner_key OR p.person_key = h.owner_key)
 WHERE h.owner_key <> '' AND h.status NOT IN ('returned', 'wiped', 'disposed', 'stock')
   AND NOT EXISTS (SELECT 1 FROM muster_people c WHERE c.email_key = p.email_key AND c.email_key <> ''
                      AND (c.last_day IS NULL OR c.last_day > p.last_day))
UNION ALL
SELECT f.value, p.last_day, COALESCE(h.from_day, ''), COALESCE(h.to_day, '9999-12-31')
  FROM muster_person_facts f
  JOIN muster_people p ON p.person = f.person AND p.last_day IS NOT NULL
  LEFT JOIN muster_asset_history h ON h.serial = f.value
 WHERE f.kind = 'serial'
   AND (h.serial IS NULL
        OR (h.owner_key = '' AND h.status NOT IN ('returned', 'wiped', 'disposed', 'stock')))
   AND NOT EXISTS (SELECT 1 FROM muster_people c WHERE c.email_key = p.email_key AND c.email_key <> ''
                      AND (c.last_day IS NULL OR c.last_day > p.last_day))
UNION ALL
SELECT DISTINCT '*', '', '', '9999-12-31' FROM muster_imports WHERE kind = 'people';
