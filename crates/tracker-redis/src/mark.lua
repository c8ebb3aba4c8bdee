-- Sets the markers of batches that RPUSH pushed just before, in the same transaction, unless RPUSH failed.
-- KEYS: the list, the marker of each batch. ARGV: the last element that was pushed, the lifetime of a marker.
if redis.call('LINDEX', KEYS[1], -1) == ARGV[1] then
  for batch = 2, #KEYS do
    redis.call('SET', KEYS[batch], '', 'EX', ARGV[2])
  end
end
