-- Add jobs in order, as many as there is room for; the stream and its delay set together hold what has been let in.
--
-- KEYS  stream, delay
-- ARGV  limit, words per entry, then the words of each entry: field, value…
-- Reply how many were added, from the first on.

local width = tonumber(ARGV[2])
local room = tonumber(ARGV[1]) - redis.call('XLEN', KEYS[1]) - redis.call('ZCARD', KEYS[2])
local added = math.max(0, math.min(room, (#ARGV - 2) / width))
for entry = 1, added do
  local first = 3 + (entry - 1) * width
  redis.call('XADD', KEYS[1], '*', unpack(ARGV, first, first + width - 1))
end
return added
