-- coordination.Bucket, word for word; the suite holds the two to each other.
-- KEYS 1 bucket   ARGV 1 now 2 per second 3 burst 4 doubling (s) 5 shrink pause (us) 6 least rate
--   7 'take' or 'shrink' 8 tokens, or rest (us) 9 patience (us)
-- Take returns {1, wait (us)} or, with nothing taken, {0, wait (us)}.
local now, most, burst = clock(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local b = redis.call('HMGET', KEYS[1], 'perSecond', 'tokens', 'seen', 'at', 'rested', 'shrunk')
local rate, tokens, seen, at = tonumber(b[1] or most), tonumber(b[2] or burst), tonumber(b[3] or 0), tonumber(b[4] or now)
local rested, shrunk = tonumber(b[5] or 0), tonumber(b[6] or 0)

local passed = math.max(0, now - at) / 1e6
rate = math.min(most, rate * 2 ^ (passed / ARGV[4]))
tokens = math.min(math.max(1, burst * rate / most), tokens + passed * rate)
seen = seen * math.exp(-passed)
at = math.max(at, now)

local answer
if ARGV[7] == 'take' then
  local n = tonumber(ARGV[8])
  local left, wait = tokens - n, 0
  if left < 0 then wait = -left / rate * 1e6 end
  wait = math.max(wait, rested - now)
  if wait > tonumber(ARGV[9]) then
    answer = {0, text(wait)}
  else
    tokens, seen = left, seen + n
    answer = {1, text(wait)}
  end
else
  rested = math.max(rested, now + ARGV[8])
  if now - shrunk >= tonumber(ARGV[5]) then
    shrunk = now
    rate = math.max(math.min(rate, seen) / 2, math.min(tonumber(ARGV[6]), most))
    tokens = math.min(tokens, 0)
  end
  answer = {1, '0'}
end
redis.call('HSET', KEYS[1], 'perSecond', exact(rate), 'tokens', exact(tokens), 'seen', exact(seen),
  'at', text(at), 'rested', text(rested), 'shrunk', text(shrunk))
keep(KEYS[1], 3600 * 1e6 + math.max(0, rested - now))
return answer
