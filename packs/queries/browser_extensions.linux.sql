-- Extensions of browsers and of Visual Studio Code, in any account's profile: one row for each version. Whose they are
-- is left out. Firefox's own parts are left out, too; enabled is 0 only where the browser says so.
-- key: browser, identifier
-- cost: 300ms
-- columns: family text, browser text, identifier text, name text, version text, enabled bigint, from_store text
SELECT DISTINCT 'chromium' AS family, c.browser_type AS browser, c.identifier, c.name, c.version,
  c.state <> '0' AS enabled, c.from_webstore AS from_store
FROM users u CROSS JOIN chrome_extensions c USING (uid)
UNION
SELECT DISTINCT 'firefox', 'firefox', f.identifier, f.name, f.version, f.disabled <> 1, ''
FROM users u CROSS JOIN firefox_addons f USING (uid)
WHERE f.type = 'extension' AND f.location NOT LIKE 'app-builtin%' AND f.location NOT LIKE 'app-system%'
UNION
SELECT DISTINCT 'vscode', 'vscode', lower(v.name), v.name, v.version, 1, ''
FROM users u CROSS JOIN vscode_extensions v USING (uid);
