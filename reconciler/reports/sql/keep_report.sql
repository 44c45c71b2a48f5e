-- Keeps a report, unless there is one.
INSERT INTO pm.report (kind, period, format, body, sha256) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING
RETURNING period
