-- Registers a manifest and the layout of settlement files, or replaces what there is if they say anything else; returns
-- the version that was made.
INSERT INTO pm.psp (psp, manifest, settlement) VALUES ($1, $2, $3)
ON CONFLICT (psp) DO UPDATE
SET manifest = excluded.manifest, settlement = excluded.settlement, version = psp.version + 1, updated_at = now()
WHERE psp.manifest::text <> excluded.manifest::text
   OR psp.settlement::text IS DISTINCT FROM excluded.settlement::text
RETURNING version
