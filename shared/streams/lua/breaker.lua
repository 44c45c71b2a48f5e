-- How a PSP's circuit breaker stands. Needs pending.lua before it, for the clock.
--
-- Fields: until_ms (stands while it is not closed: before that time OPEN, after it HALF_OPEN), row (errors in a row),
-- probe_ms (until when somebody is probing), and per slice of ten seconds b<slice> = "<answers> <errors>".

-- {state = CLOSED | OPEN | HALF_OPEN, left_ms = until the next probe may be made}
local function read_breaker(key, now)
  local until_ms = tonumber(redis.call('HGET', key, 'until_ms') or '')
  if not until_ms then
    return {state = 'CLOSED', left_ms = 0}
  elseif now < until_ms then
    return {state = 'OPEN', left_ms = until_ms - now}
  end
  return {state = 'HALF_OPEN', left_ms = 0}
end
