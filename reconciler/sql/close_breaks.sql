-- Closes breaks that are open, each with its own reason and evidence, and keeps that in their history.
WITH closing AS (
    SELECT b.id, c.state, c.reason, c.evidence::jsonb AS evidence
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) AS c (kind, subject, state, reason, evidence)
    JOIN pm.reconciliation_break AS b ON b.kind = c.kind AND b.subject = c.subject AND b.state = 'OPEN'
), closed AS (
    UPDATE pm.reconciliation_break AS b SET state = c.state, closed_at = now()
    FROM closing AS c WHERE b.id = c.id
    RETURNING b.id
), history AS (
    INSERT INTO pm.reconciliation_break_event (break_id, seq, from_state, to_state, actor, reason, evidence)
    SELECT c.id, 1 + (SELECT count(*) FROM pm.reconciliation_break_event AS e WHERE e.break_id = c.id), 'OPEN', c.state,
           $6, c.reason, c.evidence
    FROM closing AS c JOIN closed USING (id)
)
SELECT id FROM closed ORDER BY id
