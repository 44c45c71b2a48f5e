-- Pauses operations of providers; of one that is paused only the reason changes.
INSERT INTO pm.psp_control (psp, operation, reason, paused_by)
SELECT e.psp, e.operation, e.reason, e.actor
FROM jsonb_to_recordset($1::jsonb) AS e (psp text, operation text, reason text, actor text)
ORDER BY e.psp, e.operation
ON CONFLICT (psp, operation) DO UPDATE SET reason = excluded.reason
