-- Make sure that a job is never submitted from now on, without saying that it never was.
--
-- KEYS  permit
-- ARGV  token, life_ms
-- Reply {how it stood: ABSENT | TAKEN | CANCELLED, ms at which it was won first or -1, now, ms of its last write or -1}.
--
-- An absent permit becomes TAKEN, by a token that frees nothing and submits nothing; a TAKEN one is taken over, so
-- that its owner cannot free it any more and nobody takes it over to submit again. Neither age nor epoch matter:
-- whoever cannot win it submits nothing anyway. Barred once more it keeps its life, which tells since when it is.

local now, found, left_ms = now_ms(), read_permit(KEYS[1]), redis.call('PTTL', KEYS[1])
local written_ms = left_ms > 0 and now - (tonumber(ARGV[2]) - left_ms) or -1
if found and found.state == 'CANCELLED' then
  write_permit(KEYS[1], 'CANCELLED', found.by, found.ms, ARGV[2])
elseif found and string.sub(found.by, 1, 7) == 'barred.' then
  write_permit(KEYS[1], 'TAKEN', found.by, found.ms, left_ms > 0 and milliseconds(left_ms) or ARGV[2])
else
  write_permit(KEYS[1], 'TAKEN', 'barred.' .. ARGV[1], found and found.ms or now, ARGV[2])
end
return {
  found and found.state or 'ABSENT', milliseconds(found and found.ms or -1), milliseconds(now), milliseconds(written_ms),
}
