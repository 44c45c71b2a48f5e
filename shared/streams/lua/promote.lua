-- Put entries whose time has come back on their stream, past admission.
--
-- KEYS  stream, delay
-- ARGV  count
-- Reply {moved, ms until the next is due or -1}.

local stream, delay = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', delay, '-inf', string.format('%.0f', now_ms), 'LIMIT', 0, ARGV[1])
for _, member in ipairs(due) do
  local words = cmsgpack.unpack(member)
  redis.call('XADD', stream, '*', unpack(words, 2))
  redis.call('ZREM', delay, member)
end
local following = redis.call('ZRANGE', delay, 0, 0, 'WITHSCORES')[2]
return {#due, following and math.max(0, following - now_ms) or -1}
