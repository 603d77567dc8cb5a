-- Extensions that have joined osquery, osquery itself (core) among them.
SELECT name, version, type
FROM osquery_extensions;
