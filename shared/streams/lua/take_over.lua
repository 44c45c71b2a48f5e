-- Make a TAKEN permit one's own, so that whoever had it can never free it again; one that was barred stays barred.
--
-- KEYS  mesh, permit
-- ARGV  token, created_ms, epoch, age_max_ms, skew_ms, life_ms
-- Reply {GO | INQUIRE | CANCELLED, why INQUIRE or empty, ms at which it was TAKEN first or -1, now}.

local permit = KEYS[2]
local rule, now = permit_rule(2), now_ms()
local found = read_permit(permit)

local function reply(status, why, ms)
  return {status, why, milliseconds(ms), milliseconds(now)}
end

local why = staleness(KEYS[1], rule, now)
if why then
  return reply('INQUIRE', why, found and found.state == 'TAKEN' and found.ms or -1)
end
if not found then
  return reply('INQUIRE', 'absent', -1)
end
if found.state == 'CANCELLED' then
  write_permit(permit, 'CANCELLED', found.by, found.ms, rule.life_ms)
  return reply('CANCELLED', '', -1)
end
if string.sub(found.by, 1, 7) == 'barred.' then
  -- People have said what became of it, or nobody knows when it was taken first: it is asked about, and that is all.
  return reply('INQUIRE', 'barred', found.ms)
end
write_permit(permit, 'TAKEN', ARGV[1], found.ms, rule.life_ms)
return reply('GO', '', found.ms)
