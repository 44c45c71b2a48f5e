-- Notes differences; the caller holds the lock of the breaks, so that what it finds here stays true.
--
-- One that is open is seen once more, one that was resolved opens again. What somebody has explained or written off
-- stays as it is while both sides say the same; with other figures it is a new occurrence.
WITH sighted AS (
    SELECT kind, severity, subject, psp, intent_id, sides::jsonb AS sides, delta_minor, currency,
           evidence::jsonb AS evidence
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::text[], $7::numeric[], $8::text[],
                $9::text[])
        AS s (kind, severity, subject, psp, intent_id, sides, delta_minor, currency, evidence)
), known AS (
    SELECT s.*, b.id, b.state, b.state IN ('OPEN', 'RESOLVED') OR b.sides = s.sides AS same
    FROM sighted AS s
    LEFT JOIN LATERAL (
        SELECT o.id, o.state, o.sides FROM pm.reconciliation_break AS o
        WHERE o.kind = s.kind AND o.subject = s.subject ORDER BY o.id DESC LIMIT 1
    ) AS b ON true
), seen AS (
    UPDATE pm.reconciliation_break AS b
    SET seen = b.seen + 1, last_at = now(), sides = k.sides, delta_minor = k.delta_minor, currency = k.currency,
        evidence = k.evidence, severity = k.severity,
        state = CASE b.state WHEN 'RESOLVED' THEN 'OPEN' ELSE b.state END,
        closed_at = CASE b.state WHEN 'RESOLVED' THEN NULL ELSE b.closed_at END
    FROM known AS k
    WHERE b.id = k.id AND k.same
    RETURNING b.id, k.state AS was, b.state AS now, b.evidence
), added AS (
    INSERT INTO pm.reconciliation_break (kind, severity, subject, psp, intent_id, sides, delta_minor, currency, evidence)
    SELECT kind, severity, subject, psp, intent_id, sides, delta_minor, currency, evidence
    FROM known WHERE same IS NOT TRUE
    ORDER BY kind, subject
    RETURNING id, evidence
), opened AS (
    SELECT id, NULL AS was, evidence FROM added
    UNION ALL
    SELECT id, was, evidence FROM seen WHERE was <> now
), history AS (
    INSERT INTO pm.reconciliation_break_event (break_id, seq, from_state, to_state, actor, evidence)
    SELECT o.id, 1 + (SELECT count(*) FROM pm.reconciliation_break_event AS e WHERE e.break_id = o.id), o.was, 'OPEN', $10,
           o.evidence
    FROM opened AS o
)
SELECT b.id, b.opened, (SELECT kind FROM pm.reconciliation_break AS r WHERE r.id = b.id) AS kind
FROM (SELECT id, true AS opened FROM opened UNION ALL SELECT id, false FROM seen WHERE was = now) AS b
ORDER BY b.id
