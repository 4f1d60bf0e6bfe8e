-- The holder is still there. A lock that was wiped comes back, unless another
-- has held it since.
-- KEYS 1 lock   ARGV 1 now 2 owner 3 lease (us) 4 token
local l = redis.call('HMGET', KEYS[1], 'owner', 'token')
if l[1] and l[1] ~= ARGV[2] then return 0 end
if l[2] and tonumber(l[2]) > tonumber(ARGV[4]) then return 0 end
redis.call('HSET', KEYS[1], 'owner', ARGV[2], 'token', ARGV[4], 'until', text(clock(ARGV[1]) + ARGV[3]))
keep(KEYS[1], 24 * 3600 * 1e6)
return 1
