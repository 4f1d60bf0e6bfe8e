-- Gives the lock back, or the place in the queue.
-- KEYS 1 lock 2 queue 3 last seen   ARGV 1 now 2 owner 3 channel 4 topic
redis.call('ZREM', KEYS[2], ARGV[2])
redis.call('HDEL', KEYS[3], ARGV[2])
if redis.call('HGET', KEYS[1], 'owner') == ARGV[2] then
  redis.call('HDEL', KEYS[1], 'owner', 'until')
end
if redis.call('ZCARD', KEYS[2]) > 0 then redis.call('PUBLISH', ARGV[3], ARGV[4]) end
return 1
