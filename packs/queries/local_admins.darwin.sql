-- Members of the group admin (80), who may change everything on the Mac. root is always one of them.
-- columns: account text, through text
-- key: account, through
-- cost: 50ms
SELECT lower(u.username) AS account, 'group admin' AS through, m.uid
FROM user_groups m LEFT JOIN users u ON u.uid = m.uid
WHERE m.gid = 80;
