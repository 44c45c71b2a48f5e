-- Ask to make the one call that finds out whether a PSP is back.
--
-- KEYS  breaker
-- ARGV  probe_ms, life_ms
-- Reply 1 the call may be made, 0 it may not.

local now = now_ms()
local state = read_breaker(KEYS[1], now).state
if state ~= 'HALF_OPEN' then
  return state == 'CLOSED' and 1 or 0
end
if now < tonumber(redis.call('HGET', KEYS[1], 'probe_ms') or '0') then
  return 0
end
redis.call('HSET', KEYS[1], 'probe_ms', string.format('%.0f', now + ARGV[1]))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
