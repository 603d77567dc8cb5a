-- How many wrong passwords the Mac's own account policies (uid -1 is everybody's) allow: the least number of a policy
-- that has one, empty if none does. Always one row. The parameters of policies are there from osquery 5.21 on; older
-- ones answer with an error.
-- cost: 50ms
SELECT CAST(MIN(CAST(
    regex_match(policy_parameters, 'policyAttributeMaximumFailedAuthentications"?[: ]+([0-9]+)', 1) AS INTEGER))
  AS INTEGER) AS attempts
FROM password_policy
WHERE uid = -1 AND policy_parameters LIKE '%policyAttributeMaximumFailedAuthentications%';
