-- Take a pause back, unless somebody has paused anew since it was looked at.
--
-- KEYS  control
-- ARGV  operation, the value that was seen
-- Reply 1 taken back, 0 it stands, or was gone already.

if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  return redis.call('HDEL', KEYS[1], ARGV[1])
end
return 0
