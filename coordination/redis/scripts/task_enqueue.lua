-- Asks for a task. One that is being done is marked to be done again.
-- KEYS 1 task   ARGV 1 now
-- Returns {0} when it is being done, else {1, generation to queue it as}.
local t = redis.call('HMGET', KEYS[1], 'runner', 'until', 'generation')
if t[1] and tonumber(t[2]) > clock(ARGV[1]) then
  redis.call('HSET', KEYS[1], 'again', 1)
  return {0}
end
return {1, t[3] or '0'}
