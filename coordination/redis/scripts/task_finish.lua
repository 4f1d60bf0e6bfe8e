-- The runner is done. Returns 2 when it is to be done once more; the runner
-- then still has it, unless it is leaving.
-- KEYS 1 task   ARGV 1 now 2 runner 3 '1' when leaving
local t = redis.call('HMGET', KEYS[1], 'runner', 'again')
if t[1] ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], 'again')
if t[2] and ARGV[3] ~= '1' then return 2 end
redis.call('HDEL', KEYS[1], 'runner', 'until')
return t[2] and 2 or 1
