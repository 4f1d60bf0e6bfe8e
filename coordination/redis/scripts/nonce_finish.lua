-- The first request has its answer, which is kept or not. A nonce that
-- somebody else has taken meanwhile is left alone; one that was wiped comes back.
-- KEYS 1 nonce   ARGV 1 now 2 holder 3 signature 4 ttl (us, 0: forget) 5 code 6 body 7 channel 8 topic
local e = redis.call('HMGET', KEYS[1], 'signature', 'holder', 'waited')
if e[1] and e[2] ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1])
if tonumber(ARGV[4]) > 0 then
  redis.call('HSET', KEYS[1], 'signature', ARGV[3], 'until', text(clock(ARGV[1]) + ARGV[4]),
    'code', ARGV[5], 'body', ARGV[6])
  keep(KEYS[1], ARGV[4])
end
if e[3] then redis.call('PUBLISH', ARGV[7], ARGV[8]) end
return 1
