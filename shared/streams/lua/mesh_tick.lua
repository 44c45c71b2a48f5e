-- Advance one slot's tick: never turned back by a ticker that slept, never created in a store that was emptied.
--
-- KEYS  mesh
-- ARGV  mesh id, epoch, tick
-- Reply 1, or 0 when the slot does not carry this mesh and epoch.

local mark = redis.call('HMGET', KEYS[1], 'id', 'epoch', 'tick')
if mark[1] ~= ARGV[1] or mark[2] ~= ARGV[2] then
  return 0
end
if tonumber(mark[3] or '0') < tonumber(ARGV[3]) then
  redis.call('HSET', KEYS[1], 'tick', ARGV[3])
end
return 1
