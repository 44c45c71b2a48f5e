-- Delete a consumer that holds nothing; with entries it would take them along for good.
--
-- KEYS  stream
-- ARGV  group, consumer
-- Reply 1 if it is gone, 0 if it holds entries.

if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then
  return 0
end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
