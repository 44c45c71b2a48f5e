-- Keeps what became of lines. A word that was said long ago, and of which nothing has come, is said again.
UPDATE pm.settlement_line AS l
SET verdict = v.verdict, intent_id = coalesce(v.intent_id, l.intent_id), matched_by = coalesce(v.matched_by, l.matched_by),
    said_at = CASE WHEN v.verdict = 'says' AND l.said_at < now() - make_interval(secs => $6) THEN NULL ELSE l.said_at END,
    looked_at = now()
FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::uuid[], $5::text[]) AS v (file_id, line, verdict, intent_id,
                                                                                 matched_by)
WHERE l.file_id = v.file_id AND l.line = v.line
