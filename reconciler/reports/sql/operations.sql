-- What these intents are: $1 their ids. What was planned of an intent's type and channel never changes.
SELECT id, operation_type, coalesce(channel, 'UNKNOWN') AS channel FROM pm.intent WHERE id = ANY ($1::uuid[])
