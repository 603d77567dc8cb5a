-- Accounts the operating system lists.
SELECT uid, gid, username, description, directory, shell
FROM users;
