-- Offer entries to one intents stream: dedupe, then mesh, clock, admission, id marker, and only then the writes.
--
-- KEYS  stream, mesh, then per entry: idempotency key, accepted marker
-- ARGV  epoch, length_max, memory_full, dedupe_ttl_ms, clock_skew_ms, then per entry:
--       id, unix_ms, owner, number of fingerprints, number of field words, fingerprints…, field words…
-- Reply one string per entry: a letter (see AcceptStatus), followed for a replay or a conflict by the first id.

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
local length = call('XLEN', stream)

-- The stored value is "<fingerprint> <id>".
local function compare(stored, first, last)
  local space = string.find(stored, ' ', 1, true)
  local fingerprint = string.sub(stored, 1, space - 1)
  for i = first, last do
    if ARGV[i] == fingerprint then
      return 'R', string.sub(stored, space + 1)
    end
  end
  return 'C', string.sub(stored, space + 1)
end

local replies = {}
local key, at = 3, 6
for entry = 1, (#KEYS - 2) / 2 do
  local idem, marker = KEYS[key], KEYS[key + 1]
  local id, unix_ms, owner = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  local fingerprints = at + 5
  local fields = fingerprints + ARGV[at + 3]
  local past = fields + ARGV[at + 4]
  local stored = call('GET', idem)
  local reply
  if stored then
    local letter, first_id = compare(stored, fingerprints, fields - 1)
    if letter == 'R' then
      -- A write on purpose: WAIT after a script that wrote nothing would vouch for nothing.
      call('PEXPIRE', idem, dedupe_ttl_ms)
    end
    reply = letter .. first_id
  elseif not same_mesh then
    reply = 'W'
  elseif math.abs(unix_ms - now_ms) > clock_skew_ms then
    reply = 'T'
  elseif memory_full or length >= length_max then
    reply = 'B'
  elseif not call('SET', marker, ARGV[at + 1] .. ' ' .. owner, 'NX') then
    reply = 'X'
  else
    call('SET', idem, ARGV[fingerprints] .. ' ' .. id, 'PX', dedupe_ttl_ms)
    call('XADD', stream, '*', unpack(ARGV, fields, past - 1))
    length = length + 1
    reply = 'A'
  end
  replies[entry] = reply
  key, at = key + 2, past
end
return replies
