-- coordination.Breaker, word for word; the suite holds the two to each other.
-- KEYS 1 breaker   ARGV 1 now 2 'enter', 'trip' or 'reset' 3 lease, or wait (us) 4 reason
-- Enter returns {state, wait (us), failures, reason}.
local now = clock(ARGV[1])
if ARGV[2] == 'reset' then
  redis.call('DEL', KEYS[1])
  return {'closed', '0', 0, ''}
end
local b = redis.call('HMGET', KEYS[1], 'failures', 'reason', 'until', 'probing')
local failures, reason, open, probing = tonumber(b[1] or 0), b[2] or '', tonumber(b[3] or 0), tonumber(b[4] or 0)
if ARGV[2] == 'enter' then
  if failures == 0 then return {'closed', '0', 0, reason} end
  local opens = math.max(open, probing)
  if now < opens then return {'open', text(opens - now), failures, reason} end
  redis.call('HSET', KEYS[1], 'probing', text(now + ARGV[3]))
  return {'probing', '0', failures, reason}
end
if failures > 0 and now < open then return {'open', text(open - now), failures, reason} end
redis.call('HSET', KEYS[1], 'failures', failures + 1, 'reason', ARGV[4], 'until', text(now + ARGV[3]), 'probing', '0')
keep(KEYS[1], 24 * 3600 * 1e6 + ARGV[3])
return {'open', ARGV[3], failures + 1, ARGV[4]}
