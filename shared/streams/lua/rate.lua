-- Let requests of one service key through, in order, as far as its rate and their users' allow. One that is refused
-- uses nothing up, neither the key's allowance nor its user's.
--
-- KEYS  the key's window, then the window of each user among the requests
-- ARGV  window_s, requests of the key, requests of a user, then per request: which of KEYS is its user's; 0: no user's
-- Reply two arrays: per window, in how many ms it has more room; per request three numbers: 1 or 0 for let through or
--       not, how many the key has left, how many the user has left (-1: no user)
--
-- The counts are worth nothing after a restart or a failover, so they go neither into the append-only file nor to
-- replicas: nobody waits for an fsync in order to be counted.

redis.set_repl(redis.REPL_NONE)

local call = redis.call
local window_s = tonumber(ARGV[1])
local time = call('TIME')
local now_us = time[1] * 1000000 + time[2]
local stored = call('MGET', unpack(KEYS))

local windows = {}
for i = 1, #KEYS do
  windows[i] = open_window(stored[i], window_s, tonumber(ARGV[i == 1 and 2 or 3]), now_us)
end

local verdicts = {}
local whole = windows[1]
for i = 4, #ARGV do
  local own = windows[tonumber(ARGV[i])]
  local passes = has_room(whole) and (not own or has_room(own))
  if passes then
    take_one(whole)
    if own then
      take_one(own)
    end
  end
  verdicts[#verdicts + 1] = passes and 1 or 0
  verdicts[#verdicts + 1] = left_in(whole)
  verdicts[#verdicts + 1] = own and left_in(own) or -1
end

local waits = {}
for i, window in ipairs(windows) do
  if window.taken then
    call('SET', KEYS[i], pack_window(window), 'PX', life_ms(window))
  end
  waits[i] = wait_ms(window)
end
return {waits, verdicts}
