-- Password managers found on the device: programs by their names (less the version), and extensions
-- of the browsers of every account by their identifiers. disabled is 1 for an extension that is switched off (Chrome
-- from 136 on no longer says so, and its extensions count as on). Always one row: without a find it has no product;
-- software_listed is 0 where the list of software could not be read. A manager not known here is added to the
-- values below.
-- columns: product text, kind text, identifier text, software_listed bigint
-- key: product, kind, identifier
-- cost: 300ms
WITH known (kind, identifier, product) AS (
  VALUES
    ('program', '1Password', '1Password'), ('program', 'Bitwarden', 'Bitwarden'),
    ('program', 'Dashlane', 'Dashlane'), ('program', 'Keeper Password Manager', 'Keeper'),
    ('program', 'Keeper', 'Keeper'), ('program', 'LastPass', 'LastPass'), ('program', 'NordPass', 'NordPass'),
    ('program', 'Enpass', 'Enpass'), ('program', 'Proton Pass', 'Proton Pass'),
    ('program', 'KeePassXC', 'KeePassXC'), ('program', 'KeePass Password Safe', 'KeePass'),
    ('browser', 'aeblfdkhhhdcdjpifhhbdiojplfjncoa', '1Password'),
    ('browser', 'dppgmdbiimibapkepcbdbmkaabgiofem', '1Password'),
    ('browser', 'nngceckbapebfimnlniiiahkandclblb', 'Bitwarden'),
    ('browser', 'jbkfoedolllekgbhcbcoahefnbanhhlh', 'Bitwarden'),
    ('browser', 'fdjamakpfbbddfjaooikfcpapjohcfmg', 'Dashlane'),
    ('browser', 'gehmmocbbkpblljhkekmfhjpfbkclbph', 'Dashlane'),
    ('browser', 'bfogiafebfohielmmehodmfbbebbbpei', 'Keeper'),
    ('browser', 'lfochlioelphaglamdcakfjemolpichk', 'Keeper'),
    ('browser', 'hdokiejnpimakedhajhdlcegeplioahd', 'LastPass'),
    ('browser', 'bbcinlkgjjkejfdpemiealijmmooekmp', 'LastPass'),
    ('browser', 'eiaeiblijfjekdanodkjadfinkhbfgcd', 'NordPass'),
    ('browser', 'ghmbeldphafepmbegfdlkpapadhbakde', 'Proton Pass'),
    ('browser', 'kmcfomidfpdkfieipokbalgegidffkal', 'Enpass'),
    ('firefox', '{d634138d-c276-4fc8-924b-40a0ea21d284}', '1Password'),
    ('firefox', '{446900e4-71c2-419f-a6a7-df9c091e268b}', 'Bitwarden'),
    ('firefox', 'jetpack-extension@dashlane.com', 'Dashlane'),
    ('firefox', 'KeeperFFStoreExtension@KeeperSecurityInc', 'Keeper'),
    ('firefox', 'support@lastpass.com', 'LastPass'), ('firefox', 'nordpassStandalone@nordsecurity.com', 'NordPass'),
    ('firefox', '78272b6fa58f4a1abaac99321d503a20@proton.me', 'Proton Pass')
), found AS (
  SELECT 'program' AS kind, trim(replace(name, version, '')) AS identifier, 0 AS disabled FROM programs
  UNION ALL
  SELECT 'browser', c.identifier, coalesce(c.state, '') = '0'
    FROM users u CROSS JOIN chrome_extensions c USING (uid) WHERE c.referenced = 1
  UNION ALL
  SELECT 'firefox', f.identifier, f.disabled = 1 OR f.active = 0
    FROM users u CROSS JOIN firefox_addons f USING (uid)
)
SELECT k.product, k.kind, k.identifier, CAST(MIN(k.disabled) AS INTEGER) AS disabled, a.software_listed
FROM (SELECT CAST(COUNT(*) > 0 AS INTEGER) AS software_listed FROM programs) a
LEFT JOIN (
  SELECT known.product, known.kind, known.identifier, found.disabled FROM found
    JOIN known ON known.kind = found.kind AND known.identifier = found.identifier) k
GROUP BY k.product, k.kind, k.identifier;
