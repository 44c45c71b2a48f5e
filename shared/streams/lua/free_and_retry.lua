-- Free a permit and put its entry into the delay set: both or neither.
--
-- KEYS  stream, solo, dlq, counts, hours, index, delay, permit
-- ARGV  group, consumer, version, id, delay_ms, token
-- Reply 1 done, 0 the entry or the permit is not this caller's any more and nothing was changed.

local group, consumer, id = ARGV[1], ARGV[2], ARGV[4]
local pending, found = owned(KEYS[1], group, consumer, id), read_permit(KEYS[8])
if not pending or not found or found.state ~= 'TAKEN' or found.by ~= ARGV[6] then
  return 0
end
redis.call('DEL', KEYS[8])
local from = {group = group, consumer = consumer, version = ARGV[3], id = id, deliveries = pending[4]}
put_off(KEYS, from, tonumber(ARGV[5]))
return 1
