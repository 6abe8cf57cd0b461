-- KEYS: the emitter's lease, its status, then one workload hash per pool.
-- ARGV: epoch, emitter, ms since the start of the look, report (JSON), expiry ms, wake channel,
-- then for each pool: its name, digest, workload (JSON).
local now = clock()
local refused = fence(KEYS[1], ARGV[1], now)
if refused then
  return refused
end
for i = 2, #KEYS do
  if not is(KEYS[i], 'hash') then
    return corrupt(KEYS[i])
  end
end
local emitter, keep, channel = ARGV[2], ARGV[5], ARGV[6]
local looked_at = int(now - tonumber(ARGV[3]))
local oldest = now - tonumber(keep)

redis.call('HSET', KEYS[2], 'good', '{"looked_at_ms":' .. looked_at .. ',"report":' .. ARGV[4] .. '}')
redis.call('HDEL', KEYS[2], 'failure')
redis.call('PEXPIRE', KEYS[2], keep)

local changed = {}
for i = 3, #KEYS do
  local key, at = KEYS[i], 6 + (i - 3) * 3
  local pool, digest, workload = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local old = redis.call('HGET', key, emitter)
  redis.call('HSET', key, emitter,
    '{"looked_at_ms":' .. looked_at .. ',"digest":"' .. digest .. '","workload":' .. workload .. '}')
  redis.call('PEXPIRE', key, keep)
  if not old or string.match(old, '^{"looked_at_ms":%-?%d+,"digest":"(%x+)"') ~= digest then
    changed[#changed + 1] = pool
  end
  -- An emitter that left the configuration leaves its field behind, and the others keep the key alive.
  if redis.call('HLEN', key) > 1 then
    local fields = redis.call('HGETALL', key)
    for f = 1, #fields, 2 do
      local seen = tonumber(string.match(fields[f + 1], '^{"looked_at_ms":(%-?%d+)'))
      if seen and seen < oldest then
        redis.call('HDEL', key, fields[f])
      end
    end
  end
end
for _, pool in ipairs(changed) do
  redis.call('PUBLISH', channel, pool)
end
return 1
