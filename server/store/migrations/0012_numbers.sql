-- Failure episodes, from the runs of verdicts alone: what they cost is the number of runs, whatever the days.

CREATE INDEX muster_verdicts_failing ON muster_verdicts (control_no, device_no, first_day)
 WHERE underlying_status = 'fail';

-- The runs with an end, and how many days they are: a Julian day number taken from another, for the two databases have
-- no date arithmetic in common.
CREATE VIEW muster_spans AS
SELECT s.control_no, s.device_no, s.first_day, s.last_day, s.goes_on, s.status, s.underlying_status, s.lapsed,
       1 + (1461 * (s.y2 + 4800 + (s.m2 - 14) / 12)) / 4 + (367 * (s.m2 - 2 - 12 * ((s.m2 - 14) / 12))) / 12
         - (3 * ((s.y2 + 4900 + (s.m2 - 14) / 12) / 100)) / 4 + s.d2
         - (1461 * (s.y1 + 4800 + (s.m1 - 14) / 12)) / 4 - (367 * (s.m1 - 2 - 12 * ((s.m1 - 14) / 12))) / 12
         + (3 * ((s.y1 + 4900 + (s.m1 - 14) / 12) / 100)) / 4 - s.d1 AS days
  FROM (SELECT r.*,
               CAST(SUBSTR(r.first_day, 1, 4) AS BIGINT) AS y1, CAST(SUBSTR(r.first_day, 6, 2) AS BIGINT) AS m1,
               CAST(SUBSTR(r.first_day, 9, 2) AS BIGINT) AS d1,
               CAST(SUBSTR(r.last_day, 1, 4) AS BIGINT) AS y2, CAST(SUBSTR(r.last_day, 6, 2) AS BIGINT) AS m2,
               CAST(SUBSTR(r.last_day, 9, 2) AS BIGINT) AS d2
          FROM (SELECT v.control_no, v.device_no, v.first_day,
                       COALESCE(v.last_day, (SELECT MAX(e.day) FROM muster_evaluation e
                                              WHERE e.control_no = v.control_no)) AS last_day,
                       CASE WHEN v.last_day IS NULL THEN 1 ELSE 0 END AS goes_on,
                       v.status, v.underlying_status, v.lapsed
                  FROM muster_verdicts v) r) s;

-- One row per failure of a device and control: from the first day whose underlying status is fail to the first later
-- one on which it is pass or not_applicable. Silent days neither begin nor end it, and neither does an exemption.
-- open: it goes on, the device is judged still and so is the control. One that was not remedied before its device left
-- or its control was given up is not open and has no remedied_day.
-- lapsed: on the day it was remedied it was seen broken once more. last_passed_day: the last day before it that passed.
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
