-- Mark one slot as a mesh's own, unless it carries a mark already; a mark is never overwritten.
--
-- KEYS  mesh
-- ARGV  mesh id, epoch
-- Reply the mesh id that stands.

if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'id', ARGV[1], 'epoch', ARGV[2], 'tick', '0')
end
return redis.call('HGET', KEYS[1], 'id')
