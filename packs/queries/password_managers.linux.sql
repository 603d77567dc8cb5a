-- Password managers found on the device: packages, snaps and flatpaks by their names, and extensions
-- of the browsers of every account by their identifiers. disabled is 1 for an extension that is switched off (Chrome
-- from 136 on no longer says so, and its extensions count as on). Always one row: without a find it has no product;
-- software_listed is 0 where neither dpkg nor RPM keeps the list of software. A manager not known here is added to the
-- values below.
-- columns: product text, kind text, identifier text, software_listed bigint
-- key: product, kind, identifier
-- cost: 200ms
WITH known (kind, identifier, product) AS (
  VALUES
    ('package', '1password', '1Password'), ('package', 'bitwarden', 'Bitwarden'),
    ('package', 'dashlane', 'Dashlane'), ('package', 'keeperpasswordmanager', 'Keeper'),
    ('package', 'nordpass', 'NordPass'), ('package', 'enpass', 'Enpass'), ('package', 'proton-pass', 'Proton Pass'),
    ('package', 'keepassxc', 'KeePassXC'), ('package', 'keepassxc-full', 'KeePassXC'),
    ('package', 'keepassxc-minimal', 'KeePassXC'), ('package', 'keepass2', 'KeePass'), ('package', 'pass', 'pass'),
    ('file', '/snap/1password/current', '1Password'), ('file', '/snap/bitwarden/current', 'Bitwarden'),
    ('file', '/snap/keepassxc/current', 'KeePassXC'), ('file', '/snap/enpass/current', 'Enpass'),
    ('file', '/snap/nordpass/current', 'NordPass'),
    ('file', '/var/lib/flatpak/app/com.onepassword.OnePassword/current', '1Password'),
    ('file', '/var/lib/flatpak/app/com.bitwarden.desktop/current', 'Bitwarden'),
    ('file', '/var/lib/flatpak/app/org.keepassxc.KeePassXC/current', 'KeePassXC'),
    ('file', '/var/lib/flatpak/app/me.proton.Pass/current', 'Proton Pass'),
    ('file', '/var/lib/flatpak/app/io.enpass.Enpass/current', 'Enpass'),
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
), packages AS MATERIALIZED (
  SELECT name FROM deb_packages WHERE status LIKE '% ok installed'
    AND EXISTS (SELECT 1 FROM file WHERE path = '/var/lib/dpkg/status' AND size > 0)
  UNION ALL
  SELECT name FROM rpm_packages WHERE EXISTS (
    SELECT 1 FROM file WHERE size > 0 AND path IN (
      '/var/lib/rpm/rpmdb.sqlite', '/var/lib/rpm/Packages', '/var/lib/rpm/Packages.db',
      '/usr/lib/sysimage/rpm/rpmdb.sqlite', '/usr/lib/sysimage/rpm/Packages',
      '/usr/lib/sysimage/rpm/Packages.db', '/usr/share/rpm/rpmdb.sqlite', '/usr/share/rpm/Packages'))
), found AS (
  SELECT 'package' AS kind, name AS identifier, 0 AS disabled FROM packages
  UNION ALL
  SELECT 'file', path, 0 FROM file WHERE path IN (SELECT identifier FROM known WHERE kind = 'file')
  UNION ALL
  SELECT 'browser', c.identifier, coalesce(c.state, '') = '0'
    FROM users u CROSS JOIN chrome_extensions c USING (uid) WHERE c.referenced = 1
  UNION ALL
  SELECT 'firefox', f.identifier, f.disabled = 1 OR f.active = 0
    FROM users u CROSS JOIN firefox_addons f USING (uid)
)
SELECT k.product, k.kind, k.identifier, CAST(MIN(k.disabled) AS INTEGER) AS disabled, a.software_listed
FROM (SELECT CAST(COUNT(*) > 0 AS INTEGER) AS software_listed FROM packages) a
LEFT JOIN (
  SELECT known.product, known.kind, known.identifier, found.disabled FROM found
    JOIN known ON known.kind = found.kind AND known.identifier = found.identifier) k
GROUP BY k.product, k.kind, k.identifier;
