-- Renew the hold on entries that this consumer still owns.
--
-- KEYS  stream, solo, dlq, counts, hours, index
-- ARGV  group, consumer, version, ids…
-- Reply {ids owned by others or by nobody, ids whose payload is gone}.
--
-- An unguarded XCLAIM would steal entries back from whoever reclaimed them. XCLAIM also forgets an entry whose
-- payload is gone, and says so only by leaving it out of its reply: that is the one chance to write the dead letter.

local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local mine, deliveries, lost, ghosts = {}, {}, {}, {}
for i = 4, #ARGV do
  local pending = owned(stream, group, consumer, ARGV[i])
  if pending then
    mine[#mine + 1] = ARGV[i]
    deliveries[ARGV[i]] = pending[4]
  else
    lost[#lost + 1] = ARGV[i]
  end
end
if #mine > 0 then
  local words = {'XCLAIM', stream, group, consumer, 0, unpack(mine)}
  words[#words + 1] = 'JUSTID'
  local kept = {}
  for _, id in ipairs(redis.call(unpack(words))) do
    kept[id] = true
  end
  for _, id in ipairs(mine) do
    if not kept[id] then
      local from = {group = group, consumer = consumer, version = ARGV[3], id = id, deliveries = deliveries[id]}
      bury(KEYS, GHOST, from, nil)
      ghosts[#ghosts + 1] = id
    end
  end
end
return {lost, ghosts}
