-- The first request of a nonce takes it; later ones learn the answer or wait.
-- KEYS 1 nonce   ARGV 1 now (us, '' for the server's) 2 holder 3 signature 4 lease (us)
-- Returns {1} first, {2, code, body} answered, {0, us} busy so long at most, {-1} other signature.
local now = clock(ARGV[1])
local e = redis.call('HMGET', KEYS[1], 'signature', 'holder', 'until', 'code', 'body')
if e[1] and tonumber(e[3]) > now then
  if e[1] ~= ARGV[3] then return {-1} end
  if e[4] then return {2, e[4], e[5]} end
  if e[2] == ARGV[2] then return {1} end
  redis.call('HSET', KEYS[1], 'waited', 1)
  return {0, text(tonumber(e[3]) - now)}
end
if e[1] then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'signature', ARGV[3], 'holder', ARGV[2], 'until', text(now + ARGV[4]))
keep(KEYS[1], ARGV[4])
return {1}
