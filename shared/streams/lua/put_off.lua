-- Move one entry into the delay set, its attempt number raised. Needs pending.lua, dead_letter_books.lua and bury.lua
-- before it.

local function set_field(words, name, value)
  for i = 1, #words, 2 do
    if words[i] == name then
      words[i + 1] = value
      return
    end
  end
  words[#words + 1] = name
  words[#words + 1] = value
end

-- keys:  {stream, solo, dlq, counts, hours, index, delay}
-- from:  {group, consumer, version, id, deliveries}; the consumer owns the entry
--
-- A member of the set packs the entry's id and fields; the id keeps equal entries apart.
local function put_off(keys, from, delay_ms)
  local stream, id = keys[1], from.id
  local words = payload(stream, id)
  redis.call('XACK', stream, from.group, id)
  if words and #words <= WORDS_MAX then
    local attempt = tonumber(field(words, 'attempt') or '') or 0
    set_field(words, 'attempt', string.format('%.0f', attempt + 1))
    set_field(words, 'first_ms', field(words, 'first_ms') or string.match(id, '^(%d+)-'))
    table.insert(words, 1, id)
    redis.call('ZADD', keys[7], string.format('%.0f', now_ms() + delay_ms), cmsgpack.pack(words))
    redis.call('HDEL', keys[2], id)
  else
    local oversize = {reason = 'oversize', class = 'Oversize', text = 'too many fields to be added again'}
    bury(keys, words and oversize or GHOST, from, words)
  end
  redis.call('XDEL', stream, id)
end
