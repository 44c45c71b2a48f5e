-- Move entries into the delay set, their attempt number raised.
--
-- KEYS  stream, solo, dlq, counts, delay
-- ARGV  group, consumer, version, then per entry: id, delay_ms
-- Reply the ids that this consumer did not own any more.
--
-- A member packs the entry's id and fields; the id keeps equal entries apart.

local stream, solo, delay = KEYS[1], KEYS[2], KEYS[5]
local group, consumer, version = ARGV[1], ARGV[2], ARGV[3]
local lost = {}

local function set(words, name, value)
  for i = 1, #words, 2 do
    if words[i] == name then
      words[i + 1] = value
      return
    end
  end
  words[#words + 1] = name
  words[#words + 1] = value
end

for i = 4, #ARGV, 2 do
  local id = ARGV[i]
  local pending = owned(stream, group, consumer, id)
  if not pending then
    lost[#lost + 1] = id
  else
    local words = payload(stream, id)
    redis.call('XACK', stream, group, id)
    if words and #words <= WORDS_MAX then
      local attempt = tonumber(field(words, 'attempt') or '') or 0
      set(words, 'attempt', string.format('%.0f', attempt + 1))
      set(words, 'first_ms', field(words, 'first_ms') or string.match(id, '^(%d+)-'))
      table.insert(words, 1, id)
      redis.call('ZADD', delay, string.format('%.0f', now_ms() + ARGV[i + 1]), cmsgpack.pack(words))
      redis.call('HDEL', solo, id)
    else
      local oversize = {reason = 'oversize', class = 'Oversize', text = 'too many fields to be added again'}
      local from = {group = group, consumer = consumer, version = version, id = id, deliveries = pending[4]}
      bury(KEYS, words and oversize or GHOST, from, words)
    end
    redis.call('XDEL', stream, id)
  end
end
return lost
