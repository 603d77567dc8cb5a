-- When Windows itself was installed and when it last installed an update with a KB number (unix seconds): one row.
-- The daily definitions of Defender and its platform, and the removal tool, are left out; drivers and apps of the
-- Store have no KB number. The numbers are the same in every language, the titles are not.
-- cost: 2s
-- columns: installed_at bigint
SELECT o.install_date AS system_installed_at,
  (SELECT MAX(date) FROM windows_update_history
    WHERE operation = 'Installation' AND result_code IN ('Succeeded', 'SucceededWithErrors')
      AND title LIKE '%KB%' AND title NOT LIKE '%KB2267602%' AND title NOT LIKE '%KB4052623%'
      AND title NOT LIKE '%KB5007651%' AND title NOT LIKE '%KB890830%') AS installed_at
FROM os_version o;
