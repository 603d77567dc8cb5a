-- Preference domains that profiles manage for everybody on the Mac, without the values; manual is 1 for one
-- that somebody installed by hand.
SELECT DISTINCT domain, manual
FROM managed_policies
WHERE username = '';
