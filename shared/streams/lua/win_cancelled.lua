-- Win the right to say that a job was never submitted and never will be.
--
-- KEYS  mesh, permit
-- ARGV  who, created_ms, epoch, age_max_ms, skew_ms, life_ms
-- Reply CANCELLED | TAKEN | STALE.
--
-- Finding CANCELLED counts as winning it, after writing it again: whoever wrote it may not have lived to hear that
-- the replicas have it.

local permit = KEYS[2]
local rule, now = permit_rule(2), now_ms()
if staleness(KEYS[1], rule, now) then
  return 'STALE'
end
local found = read_permit(permit) or {state = 'CANCELLED', by = ARGV[1], ms = now}
if found.state == 'CANCELLED' then
  write_permit(permit, 'CANCELLED', found.by, found.ms, rule.life_ms)
end
return found.state
