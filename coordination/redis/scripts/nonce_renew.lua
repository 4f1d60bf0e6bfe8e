-- The first request is still being served.
-- KEYS 1 nonce   ARGV 1 now 2 holder 3 lease (us)
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'until', text(clock(ARGV[1]) + ARGV[3]))
keep(KEYS[1], ARGV[3])
return 1
