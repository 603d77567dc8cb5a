-- What the Mac's own account policies (uid -1 is everybody's) ask of passwords and allow of wrong ones. Always one
-- row. min_length is the most that a policy of the common form .{N,} asks for, other_rules counts those of another
-- form, and attempts is the least number of wrong passwords of a policy that has one.
-- cost: 50ms
WITH policies AS (
  SELECT policy_content AS content, policy_parameters AS parameters FROM password_policy WHERE uid = -1)
SELECT
  CAST((SELECT MAX(CAST(regex_match(content, '\.\{([0-9]+),', 1) AS INTEGER)) FROM policies
    WHERE content LIKE '%.{%,%') AS INTEGER) AS min_length,
  CAST((SELECT COUNT(*) FROM policies WHERE content LIKE '%policyAttributePassword matches%'
    AND content NOT LIKE '%.{%,%') AS INTEGER) AS other_rules,
  CAST((SELECT MIN(CAST(regex_match(parameters, 'policyAttributeMaximumFailedAuthentications"?[: ]+([0-9]+)', 1)
    AS INTEGER)) FROM policies WHERE parameters LIKE '%policyAttributeMaximumFailedAuthentications%') AS INTEGER
  ) AS attempts;
