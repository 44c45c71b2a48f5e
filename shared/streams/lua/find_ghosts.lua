-- Look for ghosts, pending entries whose payload is gone, among the oldest of a group; nothing is changed.
--
-- KEYS  stream
-- ARGV  group, how many entries to look at
-- Reply {how many were looked at, the ids of the ghosts among them}.

local ghosts = {}
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[2])
for _, entry in ipairs(pending) do
  if #redis.call('XRANGE', KEYS[1], entry[1], entry[1], 'COUNT', 1) == 0 then
    ghosts[#ghosts + 1] = entry[1]
  end
end
return {#pending, ghosts}
