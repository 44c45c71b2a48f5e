-- What this database has been through. `series` is the folder of the files: the trunk, or a ledger's own schema.
CREATE TABLE IF NOT EXISTS public.pm_migrations (
    series     text        NOT NULL,
    name       text        NOT NULL,
    sha256     text        NOT NULL CHECK (length(sha256) = 64),
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (series, name)
);
