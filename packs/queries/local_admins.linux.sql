-- Who may become root: the account with user id 0, members of the groups that do so by custom or by a line of
-- sudoers, and accounts named in sudoers themselves. The groups' members are those of the device's own lists; a group
-- of sudoers that these do not have is a directory's, and stands as it is written (%name).
-- columns: account text, through text
-- key: account, through
SELECT lower(username) AS account, 'uid 0' AS through, uid FROM users WHERE uid = 0
UNION
SELECT lower(u.username), 'group ' || g.groupname, m.uid
FROM groups g JOIN user_groups m ON m.gid = g.gid LEFT JOIN users u ON u.uid = m.uid
WHERE m.uid <> 0 AND (g.groupname IN ('sudo', 'wheel', 'admin')
  OR '%' || g.groupname IN (SELECT header FROM sudoers) OR '%#' || g.gid IN (SELECT header FROM sudoers))
UNION
SELECT lower(s.header), 'sudoers', u.uid
FROM sudoers s LEFT JOIN users u ON u.username = s.header
WHERE s.header NOT IN ('root', 'Defaults', 'User_Alias', 'Runas_Alias', 'Host_Alias', 'Cmnd_Alias', 'Cmd_Alias')
  AND s.header NOT LIKE 'Defaults%' AND substr(s.header, 1, 1) NOT IN ('#', '@')
  AND (substr(s.header, 1, 1) <> '%' OR (s.header NOT IN ('%sudo', '%wheel', '%admin')
    AND NOT EXISTS (SELECT 1 FROM groups g WHERE s.header IN ('%' || g.groupname, '%#' || g.gid))));
