-- Ports and Unix sockets that processes listen on. A port's protocol is 6 for TCP and 17 for UDP; a Unix
-- socket has port 0, no address, and a path.
SELECT p.name, l.port, l.protocol, l.address, l.path
FROM listening_ports l LEFT JOIN processes p USING (pid);
