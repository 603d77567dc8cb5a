-- What osquery is scheduled to run, how often it did and what that cost; denylisted is 1 for a query that it
-- gave up for a day.
-- volatile: executions, last_executed, output_size, wall_time_ms, user_time, system_time, average_memory
SELECT name, interval, executions, last_executed, denylisted, output_size, wall_time_ms, user_time,
  system_time, average_memory
FROM osquery_schedule;
