-- Moves a file's cursor from where this reader has begun; nobody's row where another reader has moved it.
UPDATE pm.settlement_file
SET read_bytes = $3, read_lines = $4, counted = counted + $5, refused = refused + $6,
    total_minor = total_minor + $7, trailers = (trailers::jsonb || $8::jsonb)::json
WHERE id = $1 AND read_bytes = $2 AND state = 'READING'
RETURNING refused
