-- Up to when everything that was written is there to be read: no transaction that began before is still open, of those
-- that this role may see. None of ours lives for two minutes; what is older is somebody's backup.
SELECT least(
    now() - make_interval(secs => $1),
    (SELECT min(xact_start) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
       AND xact_start > now() - interval '2 minutes')
)
