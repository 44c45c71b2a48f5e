-- Everything that happened to a break.
SELECT seq, from_state, to_state, actor, reason, evidence, at FROM pm.reconciliation_break_event
WHERE break_id = $1 ORDER BY seq
