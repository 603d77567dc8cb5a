-- Certificates the device trusts as roots, Microsoft's own and those added. In another language the store bears
-- another name, and the answer is empty.
-- key: sha1, path
-- cost: 1s
SELECT DISTINCT sha1, common_name, path
FROM certificates
WHERE store_location = 'LocalMachine' AND store = 'Trusted Root Certification Authorities';
