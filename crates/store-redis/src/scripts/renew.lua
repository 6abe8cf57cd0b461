-- KEYS: lease. ARGV: holder, epoch, time to live ms (0 gives it back), ms to remember the epoch for.
-- Returns 1, or 0 when the lease is not this holder's in this epoch or is over.
local key, ttl = KEYS[1], tonumber(ARGV[3])
local now = clock()
if not is(key, 'hash') then
  return corrupt(key)
end
local lease = redis.call('HMGET', key, 'holder', 'epoch', 'until_ms')
if lease[1] ~= ARGV[1] or lease[2] ~= ARGV[2] then
  return 0
end
local till = tonumber(lease[3])
if not till then
  return corrupt(key)
end
if till <= now then
  return 0
end
redis.call('HSET', key, 'until_ms', int(now + ttl), 'ttl_ms', int(ttl))
-- The key outlives the lease, because the epoch must be remembered.
redis.call('PEXPIRE', key, ARGV[4])
return 1
