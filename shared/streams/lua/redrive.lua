-- Put one dead letter back on its stream, past admission, to be processed alone.
--
-- KEYS  stream, dlq, counts
-- ARGV  id of the dead letter
-- Reply 1 moved, 0 somebody else has moved it, -1 there is no payload to put back.

local stream, dlq, counts, id = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
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
redis.call('XDEL', dlq, id)
redis.call('XADD', stream, '*', unpack(words))
if redis.call('HINCRBY', counts, record.reason, -1) <= 0 then
  redis.call('HDEL', counts, record.reason)
end
return 1
