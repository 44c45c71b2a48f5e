-- Count one run of an entry that is processed alone, before it starts; bury it when its runs are used up.
--
-- KEYS  stream, solo, dlq, counts, hours, index
-- ARGV  group, consumer, version, id, runs_max, token
-- Reply {GO | LOST | BURIED, runs}.

local stream, solo = KEYS[1], KEYS[2]
local group, consumer, version, id = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local pending = owned(stream, group, consumer, id)
if not pending then
  return {'LOST', 0}
end
local stored = redis.call('HGET', solo, id) or ''
local runs, token = string.match(stored, '^(%d+) (.*)$')
runs = tonumber(runs or 0)
if token == ARGV[6] then
  return {'GO', runs}
end
if runs < tonumber(ARGV[5]) then
  redis.call('HSET', solo, id, (runs + 1) .. ' ' .. ARGV[6])
  return {'GO', runs + 1}
end
local words = payload(stream, id)
local crashed = {reason = 'max_deliveries', class = 'Crash', text = runs .. ' runs alone ended without an answer'}
redis.call('XACK', stream, group, id)
local from = {group = group, consumer = consumer, version = version, id = id, deliveries = pending[4]}
bury(KEYS, words and crashed or GHOST, from, words)
redis.call('XDEL', stream, id)
return {'BURIED', runs}
