-- What the record says of every entry of some kinds right after a change; `body` NULL where it was removed by then.
SELECT DISTINCT ON (kind, name) kind, name, version, body::text AS body
FROM pm.rule_version
WHERE kind = ANY ($1::text[]) AND change_id <= $2
ORDER BY kind, name, version DESC
