-- Put dead letters back on their stream, past admission, each to be processed alone.
--
-- KEYS  stream, dlq, counts, hours, index
-- ARGV  ids of dead letters
-- Reply per id: 1 moved, 0 somebody else has moved it, -1 there is no payload to put back.

local stream, dlq = KEYS[1], KEYS[2]
local books = {counts = KEYS[3], hours = KEYS[4], index = KEYS[5]}

local function redrive(id)
  local found = redis.call('XRANGE', dlq, id, id)[1]
  if not found then
    return 0
  end
  local words, record = {}, {}
  for i = 1, #found[2], 2 do
    local name, value = found[2][i], found[2][i + 1]
    if string.sub(name, 1, 2) ~= 'o:' then
      record[name] = value
    elseif name ~= 'o:redrives' and name ~= 'o:first_ms' then
      words[#words + 1] = string.sub(name, 3)
      words[#words + 1] = value
    end
  end
  if #words == 0 then
    return -1
  end
  words[#words + 1] = 'first_ms'
  words[#words + 1] = record.first_ms
  words[#words + 1] = 'redrives'
  words[#words + 1] = string.format('%.0f', record.replay_count + 1)
  redis.call('XADD', stream, '*', unpack(words))
  redis.call('XDEL', dlq, id)
  strike(books, id, record)
  return 1
end

local replies = {}
for i, id in ipairs(ARGV) do
  replies[i] = redrive(id)
end
return replies
