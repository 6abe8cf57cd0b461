-- KEYS: the emitter's lease, its status. ARGV: epoch, why (JSON text), expiry ms.
local now = clock()
local refused = fence(KEYS[1], ARGV[1], now)
if refused then
  return refused
end
if not is(KEYS[2], 'hash') then
  return corrupt(KEYS[2])
end
redis.call('HSET', KEYS[2], 'failure', '{"failed_at_ms":' .. int(now) .. ',"why":' .. ARGV[2] .. '}')
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1
