-- Hand entries back so that anybody may claim them at once.
--
-- KEYS  stream, solo, dlq, counts, hours, index
-- ARGV  group, consumer, consumer of released entries, version, then per entry: id, how
-- Reply {ids that this consumer did not own any more, ids whose payload is gone}.
--
-- XCLAIM forgets an entry whose payload is gone, and says so only by leaving it out of its reply: that is the one
-- chance to write the dead letter.

local stream, solo = KEYS[1], KEYS[2]
local group, consumer, nobody = ARGV[1], ARGV[2], ARGV[3]
-- Further back than any idle time that a reclaim may ask for: eleven days.
local LONG_IDLE_MS = 1000000000
local lost, ghosts = {}, {}

local function uncount_run(id)
  local runs, token = string.match(redis.call('HGET', solo, id) or '', '^(%d+) (.*)$')
  if runs and tonumber(runs) > 1 then
    redis.call('HSET', solo, id, (runs - 1) .. ' ' .. token)
  else
    redis.call('HDEL', solo, id)
  end
end

for i = 5, #ARGV, 2 do
  local id, how = ARGV[i], ARGV[i + 1]
  local pending = owned(stream, group, consumer, id)
  if pending then
    local deliveries = how == 'COUNTED' and pending[4] or math.max(pending[4] - 1, 0)
    local kept =
      redis.call('XCLAIM', stream, group, nobody, 0, id, 'IDLE', LONG_IDLE_MS, 'RETRYCOUNT', deliveries, 'JUSTID')
    if #kept == 0 then
      local from = {group = group, consumer = consumer, version = ARGV[4], id = id, deliveries = pending[4]}
      bury(KEYS, GHOST, from, nil)
      ghosts[#ghosts + 1] = id
    elseif how == 'SOLO_UNCOUNTED' then
      uncount_run(id)
    end
  else
    lost[#lost + 1] = id
  end
end
return {lost, ghosts}
