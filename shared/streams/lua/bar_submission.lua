-- Make sure that a job is never submitted from now on, without saying that it never was.
--
-- KEYS  permit
-- ARGV  token, life_ms
-- Reply {how it stood: ABSENT | TAKEN | CANCELLED, ms at which it was won first or -1, now}.
--
-- An absent permit becomes TAKEN, by a token that frees nothing and submits nothing; a TAKEN one is taken over, so
-- that its owner cannot free it any more and nobody takes it over to submit again. Neither age nor epoch matter: whoever cannot win it submits nothing anyway.

local now, found = now_ms(), read_permit(KEYS[1])
if found and found.state == 'CANCELLED' then
  write_permit(KEYS[1], 'CANCELLED', found.by, found.ms, ARGV[2])
else
  write_permit(KEYS[1], 'TAKEN', 'barred.' .. ARGV[1], found and found.ms or now, ARGV[2])
end
return {found and found.state or 'ABSENT', milliseconds(found and found.ms or -1), milliseconds(now)}
