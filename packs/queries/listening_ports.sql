-- Ports that programs listen on; protocol is 6 for TCP and 17 for UDP. Left out are ports of UDP from 32768 on, which
-- programs take by chance and give back, and Unix sockets, whose paths bear names of people and of sessions.
SELECT DISTINCT p.name, l.port, l.protocol, l.address
FROM listening_ports l LEFT JOIN processes p USING (pid)
WHERE NOT coalesce(l.port = 0 OR (l.protocol = 17 AND l.port >= 32768), 0);
