-- Says where the business is.
UPDATE pm.business SET time_zone = e.time_zone, version = e.version
FROM jsonb_to_recordset($1::jsonb) AS e (time_zone text, version integer)
