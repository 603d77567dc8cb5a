-- What configuration profiles say of the screen lock, and what macOS says itself where it answers (it does not to a
-- service of the system, only to a person's own session). A profile for one person counts where it weakens the
-- lock, and not where it makes it stronger. Always one row. The switch is matched by the shape of its name: beside a
-- name that ends like a secret's, numbers would not be stored.
-- columns: asked bigint, not_asked bigint, idle_profiles bigint, idle_least bigint, idle_most bigint, delay_profiles bigint, delay_most bigint, lock_enabled bigint, grace_seconds bigint
WITH profile AS MATERIALIZED (
  SELECT name, lower(value) AS value, username FROM managed_policies
  WHERE domain IN ('com.apple.screensaver', 'com.apple.screensaver.user'))
SELECT
  COUNT(CASE WHEN name LIKE 'askForPass____' AND username = '' AND value IN ('1', 'true') THEN 1 END) AS asked,
  COUNT(CASE WHEN name LIKE 'askForPass____' AND value NOT IN ('1', 'true') THEN 1 END) AS not_asked,
  COUNT(CASE WHEN name = 'idleTime' AND username = '' THEN 1 END) AS idle_profiles,
  MIN(CASE WHEN name = 'idleTime' THEN CAST(value AS INTEGER) END) AS idle_least,
  MAX(CASE WHEN name = 'idleTime' THEN CAST(value AS INTEGER) END) AS idle_most,
  COUNT(CASE WHEN name = 'askForPasswordDelay' AND username = '' THEN 1 END) AS delay_profiles,
  MAX(CASE WHEN name = 'askForPasswordDelay' THEN CAST(value AS INTEGER) END) AS delay_most,
  (SELECT enabled FROM screenlock) AS lock_enabled,
  (SELECT grace_period FROM screenlock) AS grace_seconds
FROM profile;
