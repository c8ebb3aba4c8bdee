-- Pushes the batches that the list does not have yet, and deletes markers that are no longer needed.
-- KEYS: the list, the marker of each batch, the markers to delete.
-- ARGV: the maximum length of the list, the number of batches, the lifetime of a marker, then for each batch the
-- number of its elements and the elements.
local max_length, batches, lifetime, at = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], 4
for batch = 1, batches do
  local first, last = at + 1, at + tonumber(ARGV[at])
  local marker = KEYS[batch + 1]
  -- With XX, this only renews an existing marker. If SET is forbidden it fails here, before anything is pushed.
  if not redis.call('SET', marker, '', 'EX', lifetime, 'XX') then
    if max_length and redis.call('LLEN', KEYS[1]) >= max_length then
      return redis.error_reply('CONGESTED the list has reached its maximum length')
    end
    -- RPUSH precedes SET: if RPUSH fails, no marker may exist. unpack takes fewer than 8,000 arguments.
    for from = first, last, 1000 do
      redis.call('RPUSH', KEYS[1], unpack(ARGV, from, math.min(from + 999, last)))
    end
    redis.call('SET', marker, '', 'EX', lifetime)
  end
  at = last + 1
end
for forgotten = batches + 2, #KEYS do
  redis.call('DEL', KEYS[forgotten])
end
