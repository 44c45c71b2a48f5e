-- Take over entries that have been idle too long, and bury the ghosts among them.
--
-- KEYS  stream, solo, dlq, counts, hours, index
-- ARGV  group, consumer, version, idle_ms, count, cursor
-- Reply {next cursor, {{id, deliveries, field words}…}, ghost ids}.
--
-- XAUTOCLAIM names a ghost once and forgets it, so its dead letter is written here or never; and it counts
-- deliveries without telling them, so they are read back in the same breath.

local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local reply = redis.call('XAUTOCLAIM', stream, group, consumer, ARGV[4], ARGV[6], 'COUNT', ARGV[5])
local claimed, ghosts = {}, reply[3] or {}
for i, entry in ipairs(reply[2]) do
  local pending = owned(stream, group, consumer, entry[1])
  claimed[i] = {entry[1], pending[4], entry[2]}
end
for _, id in ipairs(ghosts) do
  local from = {group = group, consumer = consumer, version = ARGV[3], id = id, deliveries = 0}
  bury(KEYS, GHOST, from, nil)
end
return {reply[1], claimed, ghosts}
