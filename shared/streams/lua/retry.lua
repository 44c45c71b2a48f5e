-- Move entries into the delay set.
--
-- KEYS  stream, solo, dlq, counts, hours, index, delay
-- ARGV  group, consumer, version, then per entry: id, delay_ms
-- Reply the ids that this consumer did not own any more.

local group, consumer, version = ARGV[1], ARGV[2], ARGV[3]
local lost = {}
for i = 4, #ARGV, 2 do
  local id = ARGV[i]
  local pending = owned(KEYS[1], group, consumer, id)
  if pending then
    local from = {group = group, consumer = consumer, version = version, id = id, deliveries = pending[4]}
    put_off(KEYS, from, tonumber(ARGV[i + 1]))
  else
    lost[#lost + 1] = id
  end
end
return lost
