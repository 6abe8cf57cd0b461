-- KEYS: the hash of overrides.
-- ARGV: field, 1 if it goes only when it is over.
local key, field = KEYS[1], ARGV[1]
if not is(key, 'hash') then
  return corrupt(key)
end
local value = redis.call('HGET', key, field)
if not value then
  return 0
end
if ARGV[2] == '1' then
  -- the times stand first, so no text of an operator's can be taken for them
  local till = tonumber(string.match(value, '^{"set_at_ms":%d+,"until_ms":(%d+),'))
  if not till then
    return corrupt(key)
  end
  if till > clock() then
    return 0
  end
end
redis.call('HDEL', key, field)
return 1
