-- Registers a manifest, or replaces the one there is if it says anything else; returns the version that was made.
INSERT INTO pm.psp (psp, manifest) VALUES ($1, $2)
ON CONFLICT (psp) DO UPDATE
SET manifest = excluded.manifest, version = psp.version + 1, updated_at = now()
WHERE psp.manifest::text <> excluded.manifest::text
RETURNING version
