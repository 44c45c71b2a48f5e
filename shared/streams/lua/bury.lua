-- Write one dead letter and enter it into the books. Needs pending.lua and dead_letter_books.lua before it; the caller
-- has taken the entry off the group.

-- More words than this cannot be unpacked onto the Lua stack; none of our entries comes near.
local WORDS_MAX = 2000
local GHOST = {reason = 'ghost', class = 'Ghost', text = 'the payload was deleted while the entry was pending'}

-- keys:   {stream, solo, dlq, counts, hours, index}
-- letter: {reason, class, text}
-- from:   {group, consumer, version, id, deliveries}
-- words:  the entry's flat fields, or nil for a ghost
local function bury(keys, letter, from, words)
  local originals = words or {}
  local function original(name)
    return field(originals, name) or ''
  end
  local added_ms = string.match(from.id, '^(%d+)-')
  local first_ms = original('first_ms')
  local dead_ms = string.format('%.0f', now_ms())
  local record = {
    'v', '1', 'id', original('id'), 'kind', original('kind'),
    'src', keys[1], 'src_id', from.id, 'group', from.group,
    'attempts', original('attempt'), 'deliveries', from.deliveries,
    'reason', letter.reason, 'error_class', letter.class, 'error', string.sub(letter.text, 1, 512),
    'last_consumer', from.consumer, 'first_ms', first_ms ~= '' and first_ms or added_ms,
    'dead_ms', dead_ms,
    'trace_id', string.match(original('traceparent'), '^%x%x%-(%x+)%-') or '',
    'app_version', from.version, 'replay_count', string.match(string.sub(original('redrives'), 1, 9), '^%d+$') or '0',
  }
  if #originals > WORDS_MAX then
    record[#record + 1] = 'packed'
    record[#record + 1] = cmsgpack.pack(originals)
  else
    for i = 1, #originals, 2 do
      record[#record + 1] = 'o:' .. originals[i]
      record[#record + 1] = originals[i + 1]
    end
  end
  local record_id = redis.call('XADD', keys[3], '*', unpack(record))
  local books = {counts = keys[4], hours = keys[5], index = keys[6]}
  enter(books, record_id, original('id'), letter.reason, dead_ms)
  redis.call('HDEL', keys[2], from.id)
end
