-- What a permit says, and whether it may still be won.

-- {state = TAKEN | CANCELLED, by = token or who, ms = when it was won first}, or nil while it is absent. What is not
-- ours to read counts as taken by somebody.
local function read_permit(key)
  local value = redis.call('GET', key)
  if value then
    local state, by, ms = string.match(value, '^(%u+) (%S+) (%d+)$')
    return {state = state == 'CANCELLED' and state or 'TAKEN', by = by or '?', ms = tonumber(ms or 0)}
  end
end

-- A write even where nothing changes: WAIT vouches for writes only, and the permit lives from its last one.
local function write_permit(key, state, by, ms, life_ms)
  redis.call('SET', key, string.format('%s %s %.0f', state, by, ms), 'PX', life_ms)
end

-- Why the permit of a job cannot be won any more, or nil.
-- rule: {epoch, created_ms, age_max_ms, skew_ms}
local function staleness(mesh, rule, now)
  local mark = redis.call('HMGET', mesh, 'id', 'epoch')
  if not (mark[1] and mark[2]) or mark[1] .. ':' .. mark[2] ~= rule.epoch then
    return 'epoch'
  end
  if now - rule.created_ms >= rule.age_max_ms then
    return 'age'
  end
  if rule.created_ms - now > rule.skew_ms then
    return 'clock'
  end
end

-- ARGV from `at`: created_ms, epoch, age_max_ms, skew_ms, life_ms.
local function permit_rule(at)
  return {
    created_ms = tonumber(ARGV[at]), epoch = ARGV[at + 1], age_max_ms = tonumber(ARGV[at + 2]),
    skew_ms = tonumber(ARGV[at + 3]), life_ms = ARGV[at + 4],
  }
end

local function milliseconds(number)
  return string.format('%.0f', number)
end
