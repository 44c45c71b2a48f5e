-- The suspects whose time has come.
SELECT what, key FROM pm.reconciliation_suspect WHERE due_at <= now() ORDER BY due_at, what, key LIMIT $1
