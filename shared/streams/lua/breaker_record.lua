-- Note what became of calls to a PSP, in order, and say how its breaker stands afterwards.
--
-- KEYS  breaker
-- ARGV  outcomes (one character a call: 1 answered, 0 error), open_ms, volume_min, error_percent, row_max, life_ms
-- Reply {CLOSED | OPEN | HALF_OPEN, ms until it may be probed}.
--
-- Without outcomes it only says how the breaker stands.

local key, outcomes = KEYS[1], ARGV[1]
local open_ms, volume_min, percent, row_max = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local SLICE_MS, SLICES = 10000, 6
local now = now_ms()
local breaker = read_breaker(key, now)
local slice = math.floor(now / SLICE_MS)

local function open()
  redis.call('DEL', key)
  redis.call('HSET', key, 'until_ms', string.format('%.0f', now + open_ms))
end

-- Answers and errors of the last minute; older slices are forgotten.
local function totals()
  local answers, errors = 0, 0
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    local number = string.match(fields[i], '^b(%d+)$')
    if number and tonumber(number) <= slice - SLICES then
      redis.call('HDEL', key, fields[i])
    elseif number then
      local a, e = string.match(fields[i + 1], '^(%d+) (%d+)$')
      answers, errors = answers + a, errors + e
    end
  end
  return answers, errors
end

local function count()
  local name = string.format('b%.0f', slice)
  local answers, errors = string.match(redis.call('HGET', key, name) or '0 0', '^(%d+) (%d+)$')
  local row = tonumber(redis.call('HGET', key, 'row') or '0')
  local row_seen = row
  for i = 1, #outcomes do
    if string.sub(outcomes, i, i) == '1' then
      answers, row = answers + 1, 0
    else
      errors, row = errors + 1, row + 1
      row_seen = math.max(row_seen, row)
    end
  end
  redis.call('HSET', key, name, string.format('%.0f %.0f', answers, errors), 'row', row)
  answers, errors = totals()
  if row_seen >= row_max or (answers + errors >= volume_min and errors * 100 >= percent * (answers + errors)) then
    open()
  end
end

if #outcomes > 0 then
  if breaker.state == 'CLOSED' then
    count()
  elseif breaker.state == 'HALF_OPEN' then
    -- The probe: whatever was under way when it opened has ended long ago.
    if string.find(outcomes, '0', 1, true) then
      open()
    else
      redis.call('DEL', key)
    end
  end
  redis.call('PEXPIRE', key, ARGV[6])
  breaker = read_breaker(key, now)
end
return {breaker.state, string.format('%.0f', breaker.left_ms)}
