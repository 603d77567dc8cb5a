-- Which controls were judged on a day, or since one.
CREATE INDEX muster_evaluation_day ON muster_evaluation (day, control_no);
