-- Members of the group Administrators, known by its id S-1-5-32-544 whatever its name is in the system's language.
-- columns: account text, through text
-- key: account, through
-- cost: 50ms
SELECT lower(u.username) AS account, 'group ' || g.groupname AS through, m.uid
FROM groups g JOIN user_groups m ON m.gid = g.gid LEFT JOIN users u ON u.uid = m.uid
WHERE g.group_sid = 'S-1-5-32-544';
