-- Appends versions of entries; `body` is JSON text, NULL for a removal.
INSERT INTO pm.rule_version (kind, name, version, body, change_id)
SELECT v.kind, v.name, v.version, v.body::jsonb, $5
FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[]) AS v (kind, name, version, body)
ORDER BY v.kind, v.name
