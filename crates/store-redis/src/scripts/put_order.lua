-- KEYS: the hash of overrides.
-- ARGV: field, how long it holds in ms, JSON of the order, how many there may be, expiry ms of the hash (longer than
-- any order holds).
local key, field = KEYS[1], ARGV[1]
if not is(key, 'hash') then
  return corrupt(key)
end
if redis.call('HEXISTS', key, field) == 0 and redis.call('HLEN', key) >= tonumber(ARGV[4]) then
  return redis.error_reply('TOOMANY ' .. key)
end
local now = clock()
local times = '"set_at_ms":' .. int(now) .. ',"until_ms":' .. int(now + tonumber(ARGV[2]))
redis.call('HSET', key, field, '{' .. times .. ',"order":' .. ARGV[3] .. '}')
redis.call('PEXPIRE', key, ARGV[5])
return 1
