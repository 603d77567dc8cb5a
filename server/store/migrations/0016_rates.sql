-- The numbers of a day and of a period are counted from the runs, in the order of one index that has all they need.

CREATE INDEX muster_verdicts_counted ON muster_verdicts
    (control_no, last_day, first_day, status, underlying_status, lapsed);

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
