-- Mark a slot for a new epoch, whether it lost its mark or kept one: what only `paymesh recover` does.
--
-- KEYS  mesh
-- ARGV  mesh id, epoch, tick
-- Reply 1, or 0 where another mesh stands there, or a later epoch; nothing was written then.

local mark = redis.call('HMGET', KEYS[1], 'id', 'epoch', 'tick')
if mark[1] and mark[1] ~= ARGV[1] or tonumber(mark[2] or '0') > tonumber(ARGV[2]) then
  return 0
end
local tick = math.max(tonumber(mark[3] or '0'), tonumber(ARGV[3]))
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'epoch', ARGV[2], 'tick', string.format('%.0f', tick))
return 1
