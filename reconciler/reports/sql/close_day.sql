-- $1 the day, $2 what was open when it ended, or NULL.
UPDATE pm.business_day SET closed_at = now(), standing = $2::json WHERE day = $1 AND closed_at IS NULL
