-- Gives a key in force a new secret. The present one stays good for the overlap; an even older one ends here.
UPDATE pm.service_key
SET previous_secret = CASE WHEN $3::interval > interval '0' THEN secret END,
    previous_ends_at = CASE WHEN $3::interval > interval '0' THEN now() + $3::interval END,
    secret = $2,
    updated_at = now()
WHERE id = $1 AND disabled_at IS NULL
RETURNING previous_ends_at
