-- The runner is still at it. A task that was wiped is its own again.
-- KEYS 1 task   ARGV 1 now 2 runner 3 lease (us)
local runner = redis.call('HGET', KEYS[1], 'runner')
if runner and runner ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'runner', ARGV[2], 'until', text(clock(ARGV[1]) + ARGV[3]))
keep(KEYS[1], 24 * 3600 * 1e6)
return 1
