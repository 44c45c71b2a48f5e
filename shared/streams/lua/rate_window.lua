-- A sliding window of constant size: how many requests were let through in the slice of time that is now and in each
-- of the twenty before it, which together are never less than the window.
--
-- A request counts from its own moment until its whole slice is a window ago: never less than the window, and never
-- more than a twentieth longer. So no window of any start sees more than the limit, and nobody is refused who has not
-- had the limit within 1.05 windows.

local SLICES = 20
local FORMAT = '>I8' .. string.rep('I4', SLICES + 1)

-- Opens what is stored of a window (false: nothing) at a time. Counts are oldest first, the last is the slice of now.
local function open_window(stored, window_s, limit, now_us)
  local slice_us = window_s * 1000000 / SLICES
  local newest = math.floor(now_us / slice_us)
  local kept, shift = {}, SLICES + 1
  if stored then
    kept = {struct.unpack(FORMAT, stored)}
    shift = newest - kept[1]
    if shift < 0 and shift >= -SLICES then
      -- The clock was set back: time stands still here until it has caught up.
      newest, shift = kept[1], 0
    end
  end
  local counts, used = {}, 0
  for i = 1, SLICES + 1 do
    local from = i + shift
    counts[i] = from >= 1 and from <= SLICES + 1 and kept[1 + from] or 0
    used = used + counts[i]
  end
  return {
    counts = counts, used = used, limit = limit, newest = newest, slice_us = slice_us, now_us = now_us, taken = false,
  }
end

local function has_room(window)
  return window.used < window.limit
end

local function take_one(window)
  window.counts[SLICES + 1] = window.counts[SLICES + 1] + 1
  window.used = window.used + 1
  window.taken = true
end

local function left_in(window)
  return math.max(0, window.limit - window.used)
end

-- In how many ms there will be more room than now; where there is none, in how many there will be some.
local function wait_ms(window)
  local used, last = window.used, SLICES + 1
  for i = 1, SLICES + 1 do
    used = used - window.counts[i]
    if window.counts[i] > 0 and used < window.limit then
      last = i
      break
    end
  end
  return math.ceil(((window.newest + last) * window.slice_us - window.now_us) / 1000)
end

local function pack_window(window)
  return struct.pack(FORMAT, window.newest, unpack(window.counts))
end

-- For how long what is stored says anything.
local function life_ms(window)
  return math.ceil(((window.newest + SLICES + 1) * window.slice_us - window.now_us) / 1000)
end
