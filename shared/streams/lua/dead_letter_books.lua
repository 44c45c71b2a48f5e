-- The books beside a dead-letter stream: how many records stand of each reason and hour, and which are an intent's.

-- books: {counts, hours, index}, the keys of them.

local function tally(key, name, by)
  if redis.call('HINCRBY', key, name, by) <= 0 then
    redis.call('HDEL', key, name)
  end
end

local function by_hour(reason, dead_ms)
  return string.format('%s|%.0f', reason, math.floor((tonumber(dead_ms) or 0) / 3600000))
end

-- What a record is found by; only what looks like an intent's id is, so that nobody's words become a name here.
local function entered_as(id, record_id)
  if #id == 36 and string.match(id, '^[%x-]+$') then
    return id .. ' ' .. record_id
  end
end

local function enter(books, record_id, id, reason, dead_ms)
  tally(books.counts, reason, 1)
  tally(books.hours, by_hour(reason, dead_ms), 1)
  local name = entered_as(id, record_id)
  if name then
    redis.call('ZADD', books.index, 0, name)
  end
end

-- record: the record's own fields by name.
local function strike(books, record_id, record)
  local reason = record.reason or ''
  tally(books.counts, reason, -1)
  tally(books.hours, by_hour(reason, record.dead_ms), -1)
  local name = entered_as(record.id or '', record_id)
  if name then
    redis.call('ZREM', books.index, name)
  end
end
