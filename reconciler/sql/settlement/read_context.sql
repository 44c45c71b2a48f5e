-- Lines with everything that is known of their payments, as of one moment. The intent is looked for again: by our
-- reference, by the provider's own in what it has named before, among open intents by what it calls them, and last by
-- amount and time, where exactly one open intent will do.
WITH wanted AS (
    SELECT l.*, f.name AS file_name, f.sha256, f.state <> 'READING' AS complete,
           f.state <> 'READING' AND NOT EXISTS (
               SELECT FROM pm.reconciliation_break AS d
               WHERE d.kind = 'file_differs' AND d.state = 'OPEN' AND d.subject = concat_ws(':', f.psp, f.name, f.sha256)
           ) AS whole
    FROM unnest($2::bigint[], $3::bigint[]) AS w (file_id, line)
    CROSS JOIN LATERAL (
        SELECT * FROM pm.settlement_line AS s WHERE s.file_id = w.file_id AND s.line = w.line LIMIT 1
    ) AS l
    JOIN pm.settlement_file AS f ON f.id = l.file_id
), found AS (
    SELECT w.*, r.intent_id AS by_reference, r.attempt AS line_attempt, t.intent_id AS owner,
           t.amount_minor AS known_minor, t.currency AS known_currency
    FROM wanted AS w
    LEFT JOIN LATERAL (
        SELECT * FROM pm.psp_reference AS h WHERE h.psp = $1 AND h.reference = w.reference LIMIT 1
    ) AS r ON true
    LEFT JOIN LATERAL (
        SELECT * FROM pm.psp_tx_map AS m WHERE m.psp = $1 AND m.psp_transaction_id = w.psp_transaction_id LIMIT 1
    ) AS t ON true
), lost AS MATERIALIZED (
    SELECT file_id, line, psp_transaction_id, means, amount_minor, currency, at FROM found
    WHERE by_reference IS NULL AND owner IS NULL AND (reference IS NOT NULL OR psp_transaction_id IS NOT NULL)
), open AS MATERIALIZED (
    -- Few at any time; read only where a line names nothing that is known.
    SELECT i.id, i.created_at, r.psp_ids, (a.plan #>> '{dispatch,amount_minor}')::bigint AS amount_minor,
           a.plan #>> '{dispatch,currency}' AS currency
    FROM pm.intent AS i
    JOIN pm.psp_reference AS r ON r.intent_id = i.id AND r.attempt = i.attempt AND r.psp = $1
    JOIN pm.intent_attempt AS a ON a.intent_id = i.id AND a.attempt = i.attempt
    WHERE i.state IN ('AUTHORIZED', 'IN_DOUBT') AND EXISTS (SELECT FROM lost)
), called AS (
    SELECT l.file_id, l.line, min(o.id::text)::uuid AS intent_id
    FROM lost AS l
    JOIN (SELECT o.id, c.value FROM open AS o CROSS JOIN LATERAL jsonb_each_text(o.psp_ids) AS c) AS o
        ON o.value = l.psp_transaction_id
    GROUP BY l.file_id, l.line HAVING count(DISTINCT o.id) = 1
), near AS (
    SELECT l.file_id, l.line, min(o.id::text)::uuid AS intent_id
    FROM lost AS l
    JOIN open AS o ON o.amount_minor = l.amount_minor AND o.currency = l.currency
        AND l.at BETWEEN o.created_at - make_interval(secs => $4) AND o.created_at + make_interval(secs => $4)
    GROUP BY l.file_id, l.line HAVING count(*) = 1
), named AS (
    SELECT f.*, coalesce(f.by_reference, f.owner, c.intent_id, n.intent_id) AS intent,
           CASE WHEN f.by_reference IS NOT NULL THEN 'reference' WHEN f.owner IS NOT NULL THEN 'transaction'
                WHEN c.intent_id IS NOT NULL THEN 'psp_id' WHEN n.intent_id IS NOT NULL THEN 'amount_time' END AS by_what
    FROM found AS f
    LEFT JOIN called AS c USING (file_id, line)
    LEFT JOIN near AS n USING (file_id, line)
)
SELECT n.file_id, n.line, n.line_key, n.file_name, n.sha256, n.complete, n.whole, n.reference, n.psp_transaction_id, n.batch,
       n.means, n.amount_minor, n.currency, n.fee_minor, n.verdict, n.said_at, n.intent, n.by_what, n.owner,
       n.known_minor, n.known_currency, i.state, i.attempt, coalesce(n.line_attempt = i.attempt, true) AS current,
       p.kind AS plan_kind, p.planned_minor, p.planned_currency, p.operation, s.psp_transaction_id AS settled_by,
       coalesce(t.children, 0) > 0 AS reversed, t.reversed_minor,
       coalesce(o.lines_before, 0) AS lines_before, coalesce(o.lines_paid, 0) AS lines_paid, coalesce(o.lines_minor, 0) AS lines_minor,
       coalesce(b.members, 0) AS members, coalesce(b.members_minor, 0) AS members_minor,
       coalesce(b.members_open, 0) AS members_open
FROM named AS n
LEFT JOIN LATERAL (SELECT e.state, e.attempt FROM pm.intent AS e WHERE e.id = n.intent LIMIT 1) AS i ON true
LEFT JOIN LATERAL (
    SELECT a.plan ->> 'kind' AS kind, (a.plan #>> '{dispatch,amount_minor}')::bigint AS planned_minor,
           a.plan #>> '{dispatch,currency}' AS planned_currency, a.plan #>> '{dispatch,operation}' AS operation
    FROM pm.intent_attempt AS a WHERE a.intent_id = n.intent AND a.attempt = i.attempt LIMIT 1
) AS p ON true
LEFT JOIN LATERAL (
    SELECT m.psp_transaction_id FROM pm.psp_tx_map AS m WHERE m.intent_id = n.intent AND m.settles LIMIT 1
) AS s ON true
LEFT JOIN LATERAL (
    -- A child whose id is only allocated has no amount yet.
    SELECT count(*) AS children,
           CASE WHEN count(*) = count(k.amount_minor) THEN sum(k.amount_minor) END AS reversed_minor
    FROM pm.psp_child AS c
    LEFT JOIN LATERAL (SELECT g.amount_minor FROM pm.intent AS g WHERE g.id = c.child_id LIMIT 1) AS k ON true
    WHERE c.psp = $1 AND c.psp_transaction_id = n.psp_transaction_id AND c.purpose IN ('reversal', 'suspense_reversal')
) AS t ON n.means = 'reversed'
LEFT JOIN LATERAL (
    SELECT count(*) AS lines_paid, sum(e.amount_minor) AS lines_minor,
           count(*) FILTER (WHERE (e.file_id, e.line) < (n.file_id, n.line)) AS lines_before
    FROM pm.settlement_line AS e
    WHERE e.intent_id = n.intent AND e.verdict <> 'agrees' AND e.means = 'paid' AND e.psp = $1
) AS o ON n.intent IS NOT NULL
LEFT JOIN LATERAL (
    SELECT count(*) AS members, sum(e.amount_minor) AS members_minor,
           count(*) FILTER (WHERE e.verdict <> 'agrees') AS members_open
    FROM pm.settlement_line AS e
    WHERE e.psp = $1 AND e.batch = n.batch AND e.means = 'paid'
      AND (e.reference IS NOT NULL OR e.psp_transaction_id IS NOT NULL)
) AS b ON n.batch IS NOT NULL AND n.reference IS NULL AND n.psp_transaction_id IS NULL
ORDER BY n.file_id, n.line
