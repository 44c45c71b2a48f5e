-- Every service key, or the one named, without secrets; an overlap that has ended is none.
SELECT id,
    owner,
    permissions,
    CASE WHEN previous_ends_at > now() THEN previous_ends_at END AS ends_at,
    disabled_at,
    created_at
FROM pm.service_key
WHERE $1::text IS NULL OR id = $1
ORDER BY id
