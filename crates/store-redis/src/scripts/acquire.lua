-- KEYS: lease. ARGV: holder, time to live ms, floor of the epoch, ms to remember the epoch for.
-- Returns {1, epoch, remembered} or {0, holder, ms left}.
local key, holder, ttl, floor, keep = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local now = clock()
if not is(key, 'hash') then
  return corrupt(key)
end
local lease = redis.call('HMGET', key, 'holder', 'epoch', 'until_ms', 'ttl_ms')
local old_epoch = 0
local remembered = 0
if lease[1] or lease[2] or lease[3] then
  local epoch, till, old_ttl = tonumber(lease[2]), tonumber(lease[3]), tonumber(lease[4])
  -- Above 2^53 a number is no longer exact here; no clock gives out such an epoch.
  if not (lease[1] and epoch and till and old_ttl and epoch >= 0 and epoch < 9007199254740991) then
    return corrupt(key)
  end
  old_epoch, remembered = epoch, 1
  -- A clock that went back must not make the lease of a dead holder last for hours.
  local left = math.min(till - now, old_ttl)
  if left > 0 and lease[1] == holder then
    redis.call('HSET', key, 'until_ms', int(now + ttl), 'ttl_ms', int(ttl))
    redis.call('PEXPIRE', key, keep)
    return { 1, lease[2], 1 }
  end
  if left > 0 then
    if left < till - now then
      redis.call('HSET', key, 'until_ms', int(now + left))
    end
    return { 0, lease[1], int(left) }
  end
end
local epoch = int(math.max(old_epoch, floor, now) + 1)
redis.call('HSET', key, 'holder', holder, 'epoch', epoch, 'until_ms', int(now + ttl), 'ttl_ms', int(ttl))
redis.call('PEXPIRE', key, keep)
return { 1, epoch, remembered }
