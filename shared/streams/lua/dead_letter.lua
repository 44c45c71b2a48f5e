-- Move entries to the dead letters.
--
-- KEYS  stream, solo, dlq, counts, hours, index
-- ARGV  group, consumer, version, then per entry: id, reason, error class, error
-- Reply the ids that this consumer did not own any more.

local stream = KEYS[1]
local group, consumer, version = ARGV[1], ARGV[2], ARGV[3]
local lost = {}
for i = 4, #ARGV, 4 do
  local id = ARGV[i]
  local pending = owned(stream, group, consumer, id)
  if pending then
    local words = payload(stream, id)
    local letter = {reason = ARGV[i + 1], class = ARGV[i + 2], text = ARGV[i + 3]}
    local from = {group = group, consumer = consumer, version = version, id = id, deliveries = pending[4]}
    redis.call('XACK', stream, group, id)
    bury(KEYS, words and letter or GHOST, from, words)
    redis.call('XDEL', stream, id)
  else
    lost[#lost + 1] = id
  end
end
return lost
