-- What the group knows about an entry, and what the stream still holds of it.

-- {id, consumer, idle ms, deliveries} while `consumer` owns the entry, else nil. Raises NOGROUP.
local function owned(stream, group, consumer, id)
  return redis.call('XPENDING', stream, group, id, id, 1, consumer)[1]
end

-- The flat field words of an entry, or nil where the payload is gone.
local function payload(stream, id)
  local found = redis.call('XRANGE', stream, id, id)[1]
  return found and found[2]
end

local function field(words, name)
  for i = 1, #words, 2 do
    if words[i] == name then
      return words[i + 1]
    end
  end
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
