-- Decides a request, once; who approved it before and did not live to see it carried out may do so again.
UPDATE pm.operator_request
SET decision = $2, decided_by = $3, decider = $4, decision_reason = $5, decided_at = now()
WHERE id = $1 AND (decision IS NULL OR (decision = 'approved' AND $2 = 'approved' AND carried_out_at IS NULL))
RETURNING id
