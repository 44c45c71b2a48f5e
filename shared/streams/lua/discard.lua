-- Take one dead letter away for good; whoever calls has kept its bytes elsewhere.
--
-- KEYS  dlq, counts, hours, index, then markers to be deleted along with it
-- ARGV  id of the dead letter
-- Reply 1 taken away, 0 somebody else has moved it.

local dlq, id = KEYS[1], ARGV[1]
local found = redis.call('XRANGE', dlq, id, id)[1]
if not found then
  return 0
end
local record = {}
for i = 1, #found[2], 2 do
  record[found[2][i]] = found[2][i + 1]
end
redis.call('XDEL', dlq, id)
strike({counts = KEYS[2], hours = KEYS[3], index = KEYS[4]}, id, record)
for i = 5, #KEYS do
  redis.call('DEL', KEYS[i])
end
return 1
