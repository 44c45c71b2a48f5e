-- Append the verdict on one dead letter, and remember that it has been given: both or neither, and once.
--
-- KEYS  verdicts, results
-- ARGV  the dead letter before it or empty, the dead letter, then the words of the result (none: nothing to say)
-- Reply 1 given, 0 somebody else is further.

if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
if #ARGV > 2 then
  redis.call('XADD', KEYS[2], '*', unpack(ARGV, 3))
end
return 1
