-- Application bundles. When an application was last opened is left out: that is its user's affair.
SELECT name, path, bundle_identifier, bundle_short_version, bundle_version
FROM apps;
