-- Takes the lock if it is free and nobody who is still there came before.
-- KEYS 1 lock 2 queue by arrival 3 when each in it was last here
-- ARGV 1 now 2 owner 3 lease (us) 4 after 5 patience with a silent waiter (us)
-- Returns {1, token}, or {0, us until the lease of the holder ends}.
local now = clock(ARGV[1])
for owner, seen in pairs(pairsOf(redis.call('HGETALL', KEYS[3]))) do
  if now - tonumber(seen) > tonumber(ARGV[5]) then
    redis.call('ZREM', KEYS[2], owner)
    redis.call('HDEL', KEYS[3], owner)
  end
end
local l = redis.call('HMGET', KEYS[1], 'owner', 'token', 'until')
local busy = l[1] and tonumber(l[3]) > now
if busy and l[1] == ARGV[2] then return {1, l[2]} end
local first = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
if not busy and (not first or first == ARGV[2]) then
  local token = text(math.max(tonumber(l[2] or 0) + 1, now, ARGV[4] + 1))
  redis.call('HSET', KEYS[1], 'owner', ARGV[2], 'token', token, 'until', text(now + ARGV[3]))
  redis.call('ZREM', KEYS[2], ARGV[2])
  redis.call('HDEL', KEYS[3], ARGV[2])
  -- The token outlives the lock: the next one must be greater.
  keep(KEYS[1], 24 * 3600 * 1e6)
  return {1, token}
end
redis.call('ZADD', KEYS[2], 'NX', text(now), ARGV[2])
redis.call('HSET', KEYS[3], ARGV[2], text(now))
keep(KEYS[2], ARGV[5])
keep(KEYS[3], ARGV[5])
return {0, text(busy and tonumber(l[3]) - now or 0)}
