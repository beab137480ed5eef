"""The Lua scripts of the Redis event log; Redis runs each one atomically.

All keys carry one hash tag, so that in a cluster one node holds them and a script may access them all. The last part of
a key may be any bytes, since no script parses it.
"""

from service.events.stream_arms import ARMS

# Appends the events that are not in the log yet and returns their places in the arguments. The stream entry and the id
# are written first, so an event with an id has its entry. Users' lists and counts are derived data: a key of the wrong
# type is deleted. Every call writes something, so that a WAITAOF after it waits for earlier events too.
APPEND = (
    """
local prefix, now, ttl, per_user, sums_ttl = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local stream = KEYS[1]

local function reset_and_call(command, key, ...)
    local reply = redis.pcall(command, key, ...)
    if type(reply) == 'table' and reply.err then
        redis.call('DEL', key)
        reply = redis.call(command, key, ...)
    end
    redis.call('EXPIRE', key, ttl)
    return reply
end
"""
    + ARMS
    + """
local counts = {}

local function count(bucket, bundle, name, n)
    if n == 0 then return end
    local day = math.floor(bucket / 86400)
    local fields = counts[day] or {figures = {}, sums = {}}
    local figure, sum = bucket .. ':' .. name .. ':' .. bundle, name .. ':' .. bundle
    fields.figures[figure] = (fields.figures[figure] or 0) + n
    fields.sums[sum] = (fields.sums[sum] or 0) + n
    counts[day] = fields
end

local function write_counts()
    for day, tables in pairs(counts) do
        for name, fields in pairs(tables) do
            for field, n in pairs(fields) do
                reset_and_call('HINCRBY', prefix .. name .. ':' .. day, field, n)
            end
        end
        reset_and_call('ZADD', prefix .. 'days', day, day)
    end
end

local numbers = {'listed', 'named', 'clicked', 'clicked_named', 'bought', 'bought_named', 'paid', 'paid_named'}
local names = {'answers', 'shown', 'clicked', 'hits', 'conversions', 'revenue'}
local most_of_an_answer = 1e15

local function limited(n)
    return math.max(-most_of_an_answer, math.min(most_of_an_answer, n))
end

local function whole(n)
    return n < 0 and math.ceil(n) or math.floor(n)
end

local function figures(answer)
    local unnamed = math.max(0, answer.listed - answer.named)
    local clicks = answer.clicked_named + math.min(answer.clicked - answer.clicked_named, unnamed)
    local conversions = answer.bought_named + math.min(answer.bought - answer.bought_named, unnamed)
    local hits = clicks > 0 and 1 or 0
    local revenue, others = answer.paid_named, answer.bought - answer.bought_named
    if others > 0 then
        revenue = revenue + whole((answer.paid - answer.paid_named) * math.min(others, unnamed) / others)
    end
    return {answers = 1, shown = math.max(answer.named, answer.listed), clicked = clicks, hits = hits,
        conversions = conversions, revenue = revenue}
end

local function add_item(answer, role, roles)
    local function has(other) return string.find(roles, other, 1, true) end
    if role == 's' then
        answer.named = answer.named + 1
        if has('c') then answer.clicked_named = answer.clicked_named + 1 end
        if has('b') then answer.bought_named = answer.bought_named + 1 end
    else
        local column = role == 'c' and 'clicked' or 'bought'
        answer[column] = answer[column] + 1
        if has('s') then answer[column .. '_named'] = answer[column .. '_named'] + 1 end
    end
end

local function write_answer(key, answer, changed)
    for _, name in ipairs({'bucket', 'bundle', unpack(numbers)}) do
        if answer[name] then
            changed[#changed + 1] = name
            changed[#changed + 1] = answer[name]
        end
    end
    for start = 1, #changed, 1000 do  -- Lua's stack is limited
        redis.call('HSET', key, unpack(changed, start, math.min(start + 999, #changed)))
    end
end

-- What was paid for an item stands in a field of its own, beside the roles of the item.
local function add_paid(answer, key, item, role, is_new, roles, paid, changed)
    if role == 's' and not is_new then return end
    local field = '$' .. item
    local before = tonumber(redis.call('HGET', key, field) or 0) or 0
    if role == 's' then
        answer.paid_named = limited(answer.paid_named + before)
    elseif paid ~= 0 then
        answer.paid = limited(answer.paid + paid)
        if string.find(roles, 's', 1, true) then answer.paid_named = limited(answer.paid_named + paid) end
        changed[#changed + 1] = field
        changed[#changed + 1] = before + paid
    end
end

local function join(request, bucket, bundle, role, listed, paid, label, person, first, last)
    local key = prefix .. 'join:' .. request
    local held = reset_and_call('HMGET', key, 'bucket', 'bundle', 'arm', 'person', unpack(numbers))
    local answer = {bucket = tonumber(held[1] or nil), bundle = held[2] or '', arm = held[3], person = held[4]}
    for i, name in ipairs(numbers) do answer[name] = tonumber(held[4 + i] or 0) or 0 end
    local old_bucket, old_bundle = answer.bucket, answer.bundle
    local old = old_bucket and figures(answer) or {}
    local changed, counted = {}, old
    if role == 's' and person ~= '' and not (answer.arm and answer.person) then
        changed = {'arm', label, 'person', person}
        answer.arm, answer.person, counted = label, person, {}  -- what the answer has already counts from now on
    end
    for i = first, last do
        local field = '=' .. ARGV[i]
        local roles = redis.call('HGET', key, field) or ''
        local is_new = not string.find(roles, role, 1, true)
        add_paid(answer, key, ARGV[i], role, is_new, roles, paid, changed)
        if is_new then
            add_item(answer, role, roles)
            changed[#changed + 1] = field
            changed[#changed + 1] = roles .. role
        end
    end
    if role == 's' then
        answer.bucket = math.min(answer.bucket or bucket, bucket)
        answer.bundle = bundle > answer.bundle and bundle or answer.bundle
        answer.listed = math.max(answer.listed, listed)
    end
    write_answer(key, answer, changed)
    redis.call('EXPIRE', key, ttl)
    if not answer.bucket then return end
    local new = figures(answer)
    if answer.arm and answer.person then
        local shown, clicks = new.shown - (counted.shown or 0), new.clicked - (counted.clicked or 0)
        if shown ~= 0 or clicks ~= 0 then change_user(answer.arm, answer.person, shown, clicks, 0, 0, false) end
    end
    local moved = old_bucket ~= answer.bucket or old_bundle ~= answer.bundle
    for _, name in ipairs(names) do
        if moved then
            if old_bucket then count(old_bucket, old_bundle, name, -old[name]) end
            count(answer.bucket, answer.bundle, name, new[name])
        else
            count(answer.bucket, answer.bundle, name, new[name] - old[name])
        end
    end
end

local state = prefix .. 'state'
local kind = redis.call('TYPE', state).ok
if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', state) end
local appends = redis.call('HGET', state, 'appends') or '0'
if #appends > 15 or not string.match(appends, '^%d+$') then redis.call('HDEL', state, 'appends') end
redis.call('HINCRBY', state, 'appends', 1)  -- the first write, which a Redis without memory refuses
local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
local position = newest[1] and tonumber(string.match(newest[1][1], '^%d+')) or 0
local new = {}
local i, place = 6, 0
while i <= #ARGV do
    local id_key, last = prefix .. 'id:' .. ARGV[i], i + 11 + ARGV[i + 11]
    if redis.call('EXISTS', id_key) == 0 then
        position = position + 1
        local fields = {'event', ARGV[i + 1], 'at', now}
        for j, name in ipairs({'items', 'arm'}) do
            if ARGV[i + 7 + j] ~= '' then
                fields[#fields + 1] = name
                fields[#fields + 1] = ARGV[i + 7 + j]
            end
        end
        redis.call('XADD', stream, string.format('%.0f-0', position), unpack(fields))
        redis.call('SET', id_key, '', 'EX', ttl)
        new[#new + 1] = place
        if ARGV[i + 2] ~= '' then
            local list = prefix .. 'user:' .. ARGV[i + 2]
            reset_and_call('RPUSH', list, ARGV[i + 1])
            reset_and_call('LTRIM', list, -per_user, -1)
        end
        local request, bucket, bundle = ARGV[i + 3], tonumber(ARGV[i + 4]), ARGV[i + 5]
        local kind, role = string.match(ARGV[i + 6], '^([^:]*):?(.*)$')
        if bucket then
            count(bucket, bundle, kind, 1)
            local label, person = ARGV[i + 9], ARGV[i + 10]
            local listed = role == 's' and tonumber(ARGV[i + 7]) or 0
            local paid = role == 'b' and tonumber(ARGV[i + 7]) or 0
            if person ~= '' and role == 's' then
                change_user(label, person, request == '' and listed or 0, 0, 0, 0, true)
            elseif person ~= '' and role == 'b' then
                change_user(label, person, 0, 0, 1, paid, false)
            end
            if request ~= '' then join(request, bucket, bundle, role, listed, paid, label, person, i + 12, last) end
        end
    end
    i, place = last + 1, place + 1
end
write_counts()
write_arms()
return new
"""
)

# The exported position that is stored: 0 where what is stored is none of this log.
EXPORTED = """
local function exported_position(state, last)
    local stored = redis.call('HGET', state, 'exported') or ''
    local position = string.match(stored, '^%d+$') and tonumber(stored) or 0
    return position <= last and position or 0
end
"""

# Removes exported events that are too old or too many, oldest first, and never the newest, which holds the position.
TIDY = (
    EXPORTED
    + """
local prefix, oldest, kept, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local stream = KEYS[1]

local function place(entry)
    return tonumber(string.match(entry[1], '^%d+'))
end

local function accepted_at(entry)
    for f = 1, #entry[2], 2 do
        if entry[2][f] == 'at' then return tonumber(entry[2][f + 1]) end
    end
end

redis.pcall('ZREMRANGEBYSCORE', prefix .. 'days', '-inf', '(' .. math.floor(oldest / 86400))
redis.pcall('ZREMRANGEBYSCORE', prefix .. 'arms', '-inf', '(' .. oldest - 86400)  -- whose users' rows have expired
local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', most)
if not first[1] then return 0 end
local last = place(redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1])
local too_many = redis.call('XLEN', stream) - kept
local expired = 0
for i, entry in ipairs(first) do
    local at = accepted_at(entry)  -- none: another program added the entry
    if i <= too_many or (at and at < oldest) then expired = place(entry) end
end
local cut = math.min(exported_position(prefix .. 'state', last), expired, last - 1)
return redis.call('XTRIM', stream, 'MINID', string.format('%.0f-0', cut + 1))
"""
)

# Moves the exported position forward, never backward and never beyond the newest event.
MARK_EXPORTED = (
    EXPORTED
    + """
local state = ARGV[1] .. 'state'
if redis.call('TYPE', state).ok ~= 'hash' then redis.call('DEL', state) end
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local last = newest[1] and tonumber(string.match(newest[1][1], '^%d+')) or 0
local exported = math.max(exported_position(state, last), math.min(tonumber(ARGV[2]), last))
redis.call('HSET', state, 'exported', string.format('%.0f', exported))
return 0
"""
)

# Removes entries and the ids, answers and list entries of their events. The newest entry holds the position of the log:
# where it goes, ARGV[2], an event without ids, takes the next one. From ARGV[9] on are the ids of entries (as many as
# ARGV[6]), ids of events (ARGV[7]), request ids (ARGV[8]), and entries of the list of the user ARGV[3], whose rows by
# arm stand under ARGV[5].
FORGET = """
local prefix, in_place, stream = ARGV[1], ARGV[2], KEYS[1]
local user, now = ARGV[3], ARGV[4]
local i = 9
local function take(n)
    local found = {}
    for j = i, i + n - 1 do found[#found + 1] = ARGV[j] end
    i = i + n
    return found
end
local removed = 0
for _, entry in ipairs(take(tonumber(ARGV[6]))) do
    local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
    if newest and newest[1] == entry then
        local position = tonumber(string.match(entry, '^%d+')) + 1
        redis.call('XADD', stream, string.format('%.0f-0', position), 'event', in_place, 'at', now)
    end
    removed = removed + redis.call('XDEL', stream, entry)
end
for _, id in ipairs(take(tonumber(ARGV[7]))) do redis.call('DEL', prefix .. 'id:' .. id) end
local answers = 0
for _, request in ipairs(take(tonumber(ARGV[8]))) do
    answers = answers + redis.call('DEL', prefix .. 'join:' .. request)
end
for j = i, #ARGV do redis.pcall('LREM', prefix .. 'user:' .. user, 0, ARGV[j]) end
local labels = redis.pcall('ZRANGE', prefix .. 'arms', 0, -1)
for _, label in ipairs(labels) do redis.pcall('HDEL', prefix .. 'arm:' .. label, ARGV[5]) end
redis.call('HINCRBY', prefix .. 'state', 'appends', 1)  -- a write, which the WAITAOF after it waits for
return {removed, answers}
"""

# The next entries from an id on: whether there may be more, then id, event, items and arm of each. A field is empty
# where the entry has none of at most ARGV[3] bytes: other programs add entries of any shape. After ARGV[4] bytes it
# stops.
READ = """
local longest, budget = tonumber(ARGV[3]), tonumber(ARGV[4])
local entries = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
local found = {}
for i, entry in ipairs(entries) do
    local values = {event = '', items = '', arm = ''}
    for f = 1, #entry[2], 2 do
        if values[entry[2][f]] and #entry[2][f + 1] <= longest then values[entry[2][f]] = entry[2][f + 1] end
    end
    found[i] = {entry[1], values.event, values.items, values.arm}
    budget = budget - #values.event - #values.items
    if budget < 0 then break end
end
return {(budget < 0 or #entries == tonumber(ARGV[2])) and 1 or 0, found}
"""

# The ids of the oldest and the newest entry, empty without entries, and how many there are.
ENDS = """
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
return {oldest and oldest[1] or '', newest and newest[1] or '', redis.call('XLEN', KEYS[1])}
"""
