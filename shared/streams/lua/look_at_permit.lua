-- Say how a permit stands, without touching it.
--
-- KEYS  mesh, permit
-- ARGV  created_ms, epoch, age_max_ms, skew_ms, life_ms
-- Reply {ABSENT | TAKEN | CANCELLED, why it cannot be won any more or empty, ms at which it was won or -1, now}.

local now, found = now_ms(), read_permit(KEYS[2])
local why = staleness(KEYS[1], permit_rule(1), now) or ''
return {found and found.state or 'ABSENT', why, milliseconds(found and found.ms or -1), milliseconds(now)}
