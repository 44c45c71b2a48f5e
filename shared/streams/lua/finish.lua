-- Take finished entries off the stream, each behind its own fence.
--
-- KEYS  stream, solo, then in the order of use: per entry its markers, its streams to append to
-- ARGV  group, then per entry: id, markers, hints, appends, appends if lost; channel and message per hint;
--       number of words and the words per append
-- Reply the ids that were not pending any more.
--
-- XACK = 1 is the fence: exactly one caller ever sees it for an entry, whoever owned the entry at the time.

local call = redis.call
local stream, solo, group = KEYS[1], KEYS[2], ARGV[1]
local won, markers, lost = {}, {}, {}
local key, at = 3, 2

-- Appends `count` entries if `real`, else steps over them.
local function append(count, real)
  for _ = 1, count do
    local last = at + ARGV[at]
    if real then
      call('XADD', KEYS[key], '*', unpack(ARGV, at + 1, last))
    end
    key, at = key + 1, last + 1
  end
end

while at <= #ARGV do
  local id, deletes, hints, appends, observations = unpack(ARGV, at, at + 4)
  at = at + 5
  local first = call('XACK', stream, group, id) == 1
  if first then
    won[#won + 1] = id
  else
    lost[#lost + 1] = id
  end
  for _ = 1, deletes do
    if first then
      markers[#markers + 1] = KEYS[key]
    end
    key = key + 1
  end
  for _ = 1, hints do
    if first then
      call('PUBLISH', ARGV[at], ARGV[at + 1])
    end
    at = at + 2
  end
  append(appends, first)
  append(observations, not first)
end

if #won > 0 then
  call('XDEL', stream, unpack(won))
  if call('EXISTS', solo) == 1 then
    call('HDEL', solo, unpack(won))
  end
end
-- Markers may be several an entry: delete them in runs that fit the Lua stack.
for first = 1, #markers, 1000 do
  call('DEL', unpack(markers, first, math.min(first + 999, #markers)))
end
return lost
