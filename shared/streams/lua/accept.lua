-- Offer entries to one intents stream: dedupe, then mesh, clock, admission, id marker, and only then the writes.
--
-- KEYS  stream, mesh, then per entry: idempotency key, accepted marker
-- ARGV  epoch, length_max, memory_full, dedupe_ttl_ms, clock_skew_ms, number of fields, field names…, then per entry:
--       id, unix_ms, owner, number of fingerprints, fingerprints…, field values…
-- Reply one string per entry: a letter (see AcceptStatus), followed for a replay or a conflict by the first id.
--
-- All reads come first, in one MGET, and the markers are written last, in one MSET: a call into the server costs more
-- than everything else here. `written` remembers what this batch is writing, for entries that meet within it.

local call = redis.call
local stream = KEYS[1]
local length_max = tonumber(ARGV[2])
local memory_full = ARGV[3] == '1'
local dedupe_ttl_ms = ARGV[4]
local clock_skew_ms = tonumber(ARGV[5])

local mesh = call('HMGET', KEYS[2], 'id', 'epoch')
local same_mesh = mesh[1] and mesh[2] and mesh[1] .. ':' .. mesh[2] == ARGV[1]
local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local room = length_max - call('XLEN', stream)
local stored = call('MGET', unpack(KEYS, 3))

-- A remembered request is "<fingerprint> <id>".
local function compare(value, first, last)
  local space = string.find(value, ' ', 1, true)
  local fingerprint = string.sub(value, 1, space - 1)
  for i = first, last do
    if ARGV[i] == fingerprint then
      return 'R' .. string.sub(value, space + 1)
    end
  end
  return 'C' .. string.sub(value, space + 1)
end

-- Field names come once; each entry fills in its values.
local field_count = tonumber(ARGV[6])
local words = {}
for i = 1, field_count do
  words[2 * i - 1] = ARGV[6 + i]
end

local replies, markers, written = {}, {}, {}
local at = 7 + field_count
for entry = 1, (#KEYS - 2) / 2 do
  local idem, marker = KEYS[2 * entry + 1], KEYS[2 * entry + 2]
  local id, unix_ms, owner = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local fingerprints = at + 4
  local values = fingerprints + ARGV[at + 3]
  local value = written[idem] or stored[2 * entry - 1]
  local reply
  if value then
    reply = compare(value, fingerprints, values - 1)
    if string.sub(reply, 1, 1) == 'R' then
      -- A write on purpose: WAIT after a script that wrote nothing would vouch for nothing.
      call('PEXPIRE', idem, dedupe_ttl_ms)
    end
  elseif not same_mesh then
    reply = 'W'
  elseif math.abs(unix_ms - now_ms) > clock_skew_ms then
    reply = 'T'
  elseif memory_full or room <= 0 then
    reply = 'B'
  elseif stored[2 * entry] or written[marker] then
    reply = 'X'
  else
    value = ARGV[fingerprints] .. ' ' .. id
    call('SET', idem, value, 'PX', dedupe_ttl_ms)
    for i = 1, field_count do
      words[2 * i] = ARGV[values + i - 1]
    end
    call('XADD', stream, '*', unpack(words))
    markers[#markers + 1] = marker
    markers[#markers + 1] = unix_ms .. ' ' .. owner
    written[idem], written[marker] = value, true
    room = room - 1
    reply = 'A'
  end
  replies[entry] = reply
  at = values + field_count
end

if #markers > 0 then
  call('MSET', unpack(markers))
end
return replies
