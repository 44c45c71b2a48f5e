-- The same effects as the mesh's finish, in as few commands as can be, and without its fence.
--
-- KEYS  stream
-- ARGV  group, then per entry: id, intent id, waiter

local ids, markers = {}, {}
local tag = string.match(KEYS[1], '{.-}')
for i = 2, #ARGV, 3 do
  ids[#ids + 1] = ARGV[i]
  markers[#markers + 1] = 'acc.' .. tag .. ':' .. ARGV[i + 1]
  redis.call('PUBLISH', 'intent.' .. ARGV[i + 1], 'SETTLED')
  redis.call('PUBLISH', 'gateway.' .. ARGV[i + 2], ARGV[i + 1] .. ' SETTLED')
end
redis.call('XACK', KEYS[1], ARGV[1], unpack(ids))
redis.call('XDEL', KEYS[1], unpack(ids))
redis.call('DEL', unpack(markers))
