-- Times are in microseconds since 1970, which doubles hold exactly.
local function clock(given)
  if given ~= '' then return tonumber(given) end
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end
local function text(n) return string.format('%.0f', n) end
local function exact(n) return string.format('%.17g', n) end
-- Expiry only collects what nobody came for; what holds is written in the value.
local function keep(key, us) redis.call('PEXPIRE', key, text(us / 1000 + 60000)) end
local function pairsOf(list)
  local all = {}
  for i = 1, #list, 2 do all[list[i]] = list[i + 1] end
  return all
end
