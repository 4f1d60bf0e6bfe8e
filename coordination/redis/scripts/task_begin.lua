-- Takes a task, unless somebody is at it, who then does it once more.
-- KEYS 1 task   ARGV 1 now 2 runner 3 lease (us)
local now = clock(ARGV[1])
local t = redis.call('HMGET', KEYS[1], 'runner', 'until', 'generation')
if t[1] and t[1] ~= ARGV[2] and tonumber(t[2]) > now then
  redis.call('HSET', KEYS[1], 'again', 1)
  return 0
end
-- Asked for from now on, it is another task.
local generation = text(math.max(tonumber(t[3] or 0) + 1, now))
redis.call('HSET', KEYS[1], 'runner', ARGV[2], 'until', text(now + ARGV[3]), 'generation', generation)
redis.call('HDEL', KEYS[1], 'again')
keep(KEYS[1], 24 * 3600 * 1e6)
return 1
