-- Win the permit for one submission.
--
-- KEYS  stream, mesh, permit
-- ARGV  group, consumer, id, token, job_ttl_ms, created_ms, epoch, age_max_ms, skew_ms, life_ms
-- Reply {GO | INQUIRE | CANCELLED | LOST, why INQUIRE or empty, ms at which it was TAKEN first or -1, now}.
--
-- Ownership of the entry and the permit are looked at in one breath: a consumer that was paused before this call is
-- told LOST, one that is paused after it has left its token behind for everybody to see.

local permit, token = KEYS[3], ARGV[4]
local rule, now = permit_rule(6), now_ms()
local found = read_permit(permit)
local taken_ms = found and found.state == 'TAKEN' and found.ms or -1

local function reply(status, why, ms)
  return {status, why, milliseconds(ms), milliseconds(now)}
end

if not owned(KEYS[1], ARGV[1], ARGV[2], ARGV[3]) then
  return reply('LOST', '', taken_ms)
end
local why = staleness(KEYS[2], rule, now)
if why then
  return reply('INQUIRE', why, taken_ms)
end
if found and found.state == 'CANCELLED' then
  write_permit(permit, 'CANCELLED', found.by, found.ms, rule.life_ms)
  return reply('CANCELLED', '', -1)
end
if found and found.by ~= token then
  return reply('INQUIRE', 'taken', taken_ms)
end
if not found and now - rule.created_ms >= tonumber(ARGV[5]) then
  write_permit(permit, 'CANCELLED', 'job_ttl', now, rule.life_ms)
  return reply('CANCELLED', '', -1)
end
taken_ms = found and found.ms or now
write_permit(permit, 'TAKEN', token, taken_ms, rule.life_ms)
return reply('GO', '', taken_ms)
