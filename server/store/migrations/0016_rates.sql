-- The numbers of a day and of a period are counted from the runs, in the order of one index that has all they need.

CREATE INDEX muster_verdicts_counted ON muster_verdicts
    (control_no, last_day, first_day, status, underlying_status, lapsed);

-- As it was, but the controls that are judged still are found once, not again for every failure.
DROP VIEW posture_failures;

CREATE VIEW posture_failures AS
SELECT d.device_id, d.hostname, c.control, c.severity, f.first_failed_day,
       (SELECT l.last_day FROM muster_spans l
         WHERE l.control_no = f.control_no AND l.device_no = f.device_no AND l.underlying_status = 'fail'
           AND l.first_day >= f.first_failed_day AND l.first_day < f.before_day
         ORDER BY l.first_day DESC LIMIT 1) AS last_failed_day,
       CASE WHEN f.before_day <> '9999-12-31' THEN f.before_day END AS remedied_day,
       CASE WHEN f.before_day = '9999-12-31'
             AND f.control_no IN (SELECT e.control_no FROM muster_evaluation e WHERE e.day >=
                                  COALESCE((SELECT MAX(y.day) FROM muster_days y WHERE y.state <> 'open'), ''))
             AND EXISTS (SELECT 1 FROM muster_verdicts o
                          WHERE o.control_no = f.control_no AND o.device_no = f.device_no
                            AND o.first_day >= f.first_failed_day AND o.last_day IS NULL)
            THEN 1 ELSE 0 END AS open,
       (SELECT CAST(SUM(s.days) AS BIGINT) FROM muster_spans s
         WHERE s.control_no = f.control_no AND s.device_no = f.device_no AND s.underlying_status = 'fail'
           AND s.first_day >= f.first_failed_day AND s.first_day < f.before_day) AS failed_days,
       (SELECT CAST(COALESCE(SUM(s.days), 0) AS BIGINT) FROM muster_spans s
         WHERE s.control_no = f.control_no AND s.device_no = f.device_no AND s.status = 'exempt'
           AND s.first_day >= f.first_failed_day AND s.first_day < f.before_day) AS exempt_days,
       (SELECT CAST(COALESCE(SUM(s.days), 0) AS BIGINT) FROM muster_spans s
         WHERE s.control_no = f.control_no AND s.device_no = f.device_no AND s.underlying_status <> 'fail'
           AND s.first_day >= f.first_failed_day AND s.first_day < f.before_day) AS silent_days,
       COALESCE((SELECT e.lapsed FROM muster_verdicts e
                  WHERE e.control_no = f.control_no AND e.device_no = f.device_no AND e.first_day = f.before_day),
                0) AS lapsed,
       (SELECT p.last_day FROM muster_verdicts p
         WHERE p.control_no = f.control_no AND p.device_no = f.device_no AND p.underlying_status = 'pass'
           AND p.first_day < f.first_failed_day ORDER BY p.first_day DESC LIMIT 1) AS last_passed_day
  FROM (SELECT v.control_no, v.device_no, v.first_day AS first_failed_day,
               COALESCE((SELECT MIN(n.first_day) FROM muster_verdicts n
                          WHERE n.control_no = v.control_no AND n.device_no = v.device_no
                            AND n.first_day > v.first_day AND n.underlying_status IN ('pass', 'not_applicable')),
                        '9999-12-31') AS before_day
          FROM muster_verdicts v
         WHERE v.underlying_status = 'fail'
           AND COALESCE((SELECT b.underlying_status FROM muster_verdicts b
                          WHERE b.control_no = v.control_no AND b.device_no = v.device_no AND b.first_day < v.first_day
                            AND b.underlying_status IN ('pass', 'fail', 'not_applicable')
                          ORDER BY b.first_day DESC LIMIT 1), '') <> 'fail') f
  JOIN muster_devices d ON d.device_no = f.device_no
  JOIN muster_controls c ON c.control_no = f.control_no;

-- One row per day and control: its devices by status, and what is reckoned from them. in_scope is the sum of the seven.
-- judged: passed or failed, the denominator of pass_rate. observed: these, and the exempt that were seen to pass or
-- fail, of the applicable: the coverage. Both are per cent, rounded down to two decimals, null where there is nothing
-- to divide by.
CREATE VIEW posture_rates AS
SELECT s.day, s.control, s.provisional, s.in_scope, s.pass, s.fail, s.stale, s.no_data, s.error, s.not_applicable,
       s.exempt, s.lapsed, s.pass + s.fail AS judged,
       CASE WHEN s.pass + s.fail > 0
            THEN CAST(10000 * s.pass / (s.pass + s.fail) AS DOUBLE PRECISION) / 100 END AS pass_rate,
       s.pass + s.fail + s.exempt_seen AS observed, s.in_scope - s.not_applicable AS applicable,
       CASE WHEN s.in_scope > s.not_applicable
            THEN CAST(10000 * (s.pass + s.fail + s.exempt_seen) / (s.in_scope - s.not_applicable) AS DOUBLE PRECISION)
                 / 100 END AS coverage
  FROM (SELECT e.day, c.control, CASE WHEN y.state = 'open' THEN 1 ELSE 0 END AS provisional, COUNT(*) AS in_scope,
               COUNT(CASE WHEN v.status = 'pass' THEN 1 END) AS pass,
               COUNT(CASE WHEN v.status = 'fail' THEN 1 END) AS fail,
               COUNT(CASE WHEN v.status = 'stale' THEN 1 END) AS stale,
               COUNT(CASE WHEN v.status = 'no_data' THEN 1 END) AS no_data,
               COUNT(CASE WHEN v.status = 'error' THEN 1 END) AS error,
               COUNT(CASE WHEN v.status = 'not_applicable' THEN 1 END) AS not_applicable,
               COUNT(CASE WHEN v.status = 'exempt' THEN 1 END) AS exempt,
               COUNT(CASE WHEN v.status = 'exempt' AND v.underlying_status IN ('pass', 'fail') THEN 1 END)
                 AS exempt_seen,
               COUNT(CASE WHEN v.lapsed = 1 THEN 1 END) AS lapsed
          FROM muster_evaluation e
          JOIN muster_days y ON y.day = e.day
          JOIN muster_verdicts v
            ON v.control_no = e.control_no AND v.first_day <= e.day AND COALESCE(v.last_day, '9999-12-31') >= e.day
          JOIN muster_controls c ON c.control_no = e.control_no
         GROUP BY e.day, e.control_no, c.control, y.state) s;
-- Which controls were judged on a day, or since one.
CREATE INDEX muster_evaluation_day ON muster_evaluation (day, control_no);
