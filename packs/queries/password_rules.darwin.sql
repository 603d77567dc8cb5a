-- What the Mac's own account policies (uid -1 is everybody's) ask of passwords. Always one row. min_length is the most
-- that a policy of the common form .{N,} asks for, other_rules counts those of another form.
-- cost: 50ms
WITH policies AS (SELECT policy_content AS content FROM password_policy WHERE uid = -1)
SELECT
  CAST((SELECT MAX(CAST(regex_match(content, '\.\{([0-9]+),', 1) AS INTEGER)) FROM policies
    WHERE content LIKE '%.{%,%') AS INTEGER) AS min_length,
  CAST((SELECT COUNT(*) FROM policies WHERE content LIKE '%policyAttributePassword matches%'
    AND content NOT LIKE '%.{%,%') AS INTEGER) AS other_rules;
