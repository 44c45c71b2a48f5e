-- Delete a permit that was taken by a token which has sent nothing and never will.
--
-- KEYS  permit
-- ARGV  token
-- Reply 1 deleted, 0 it was not the token's.

local found = read_permit(KEYS[1])
if not found or found.state ~= 'TAKEN' or found.by ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
