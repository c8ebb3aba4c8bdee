-- Pushes batches that are not on the list yet, and forgets those that will never come again.
-- KEYS: the list, the marker of each batch, the markers to forget.
-- ARGV: how long the list may be, how many batches, then of each: how many elements, and the elements.
local week = 604800
local longest, batches, at = tonumber(ARGV[1]), tonumber(ARGV[2]), 3
for batch = 1, batches do
  local first, last = at + 1, at + tonumber(ARGV[at])
  local marker = KEYS[batch + 1]
  -- XX writes no marker where there is none, but fails wherever that is forbidden: before anything is pushed.
  if not redis.call('SET', marker, '', 'EX', week, 'XX') then
    if longest and redis.call('LLEN', KEYS[1]) >= longest then
      return redis.error_reply('CONGESTED the list is as long as it may be')
    end
    -- The list comes before the marker: if it refuses, there must be none. unpack takes fewer than 8,000 arguments.
    for from = first, last, 1000 do
      redis.call('RPUSH', KEYS[1], unpack(ARGV, from, math.min(from + 999, last)))
    end
    redis.call('SET', marker, '', 'EX', week)
  end
  at = last + 1
end
for settled = batches + 2, #KEYS do
  redis.call('DEL', KEYS[settled])
end
