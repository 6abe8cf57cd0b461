-- Stands before every script. Redis runs a script as one step: nothing else runs between its lines.

-- The server's own clock in ms: the only one that decides anything here.
local function clock()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

-- Numbers as JSON integers: Lua would print large ones with an exponent.
local function int(number)
  return string.format('%.0f', number)
end

local function corrupt(key)
  return redis.error_reply('CORRUPT ' .. key)
end

-- Writing is all or nothing, so types are looked at before the first write.
local function is(key, kind)
  local found = redis.call('TYPE', key).ok
  return found == kind or found == 'none'
end

-- An error unless the lease under this key is alive in this epoch. Epochs are compared as text, exactly.
local function fence(key, epoch, now)
  if not is(key, 'hash') then
    return corrupt(key)
  end
  local lease = redis.call('HMGET', key, 'epoch', 'until_ms')
  if lease[1] ~= epoch or not lease[2] then
    return redis.error_reply('FENCED now ' .. tostring(lease[1] or 'nobody'))
  end
  local till = tonumber(lease[2])
  if not till then
    return corrupt(key)
  end
  if till <= now then
    return redis.error_reply('FENCED over')
  end
  return nil
end

