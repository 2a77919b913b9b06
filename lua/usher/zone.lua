--- Time zones: from a local date and time to UTC, by the zone's own file (TZif, RFC 8536).
--- Pure: bytes in, numbers out. Times are seconds since 1970.
local M = {}

--- Days since 1970 of a date (proleptic Gregorian; the algorithm is H. Hinnant's).
local function days(year, month, day)
    if month <= 2 then year = year - 1 end
    local era = year // 400
    local of_era = year - era * 400
    local of_year = (153 * (month + (month > 2 and -3 or 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
end

local LENGTHS = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }

local function leap(year) return year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0) end

--- "2026-05-01 10:00[:30]", a T between, or a date alone -> seconds as if it were UTC; nil otherwise.
---@param text string
function M.parse(text)
    text = tostring(text)
    local y, m, d, rest = text:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)(.*)$")
    if not y then return nil end
    local hour, minute, second = rest:match("^[ T](%d%d):(%d%d):(%d%d)$")
    if not hour then hour, minute = rest:match("^[ T](%d%d):(%d%d)$") end
    if not hour and rest ~= "" then return nil end
    y, m, d = math.tointeger(tonumber(y)), math.tointeger(tonumber(m)), math.tointeger(tonumber(d))
    local h, i, s = tonumber(hour or 0), tonumber(minute or 0), tonumber(second or 0)
    if m < 1 or m > 12 or d < 1 or h > 23 or i > 59 or s > 59 then return nil end
    if d > LENGTHS[m] + ((m == 2 and leap(y)) and 1 or 0) then return nil end
    return math.tointeger(days(y, m, d) * 86400 + h * 3600 + i * 60 + s)
end

local function number(bytes, at, n)
    local value = 0
    for i = at, at + n - 1 do value = value << 8 | bytes:byte(i) end
    if n == 4 and value >= 1 << 31 then value = value - (1 << 32) end
    return value -- 8 bytes wrap by themselves
end

local function counts(bytes, at)
    local out = {}
    for i, name in ipairs { "utc", "std", "leap", "time", "type", "char" } do
        out[name] = number(bytes, at + 20 + (i - 1) * 4, 4)
    end
    return out
end

--- "EET-2EEST,M3.5.0/3,M10.5.0/4" -> its rule, nil when there is no daylight saving in it.
local function footer(text)
    local function name(at)
        local quoted = text:match("^<[^>]*>()", at)
        return quoted or text:match("^%a+()", at)
    end
    local function clock(at, default)
        local sign, h, past = text:match("^([+-]?)(%d+)()", at)
        if not h then return default, at end
        local seconds = tonumber(h) * 3600
        for unit = 1, 2 do
            local part, after = text:match("^:(%d+)()", past)
            if part then seconds, past = seconds + tonumber(part) * (unit == 1 and 60 or 1), after end
        end
        return math.tointeger(sign == "-" and -seconds or seconds), past
    end
    local function date(at)
        local month, week, day, past = text:match("^,M(%d+)%.(%d+)%.(%d+)()", at)
        if not month then return nil end
        local rule = { month = math.tointeger(tonumber(month)), week = math.tointeger(tonumber(week)),
            day = math.tointeger(tonumber(day)), at = 7200 }
        if text:sub(past, past) == "/" then rule.at, past = clock(past + 1, 7200) end
        return rule, past
    end
    local at = name(1)
    if not at then return nil end
    local west
    west, at = clock(at, 0)
    local rule = { standard = -west }
    at = name(at)
    if not at then return nil end
    west, at = clock(at, west - 3600)
    rule.summer = -west
    rule.from, at = date(at)
    if not rule.from then return nil end
    rule.to = date(at)
    return rule.to and rule or nil
end

--- Seconds of a rule's date in a year, in local time.
local function date_in(rule, year)
    local first = days(year, rule.month, 1)
    local day = (rule.day - (first + 4) % 7) % 7 + (rule.week - 1) * 7
    local length = LENGTHS[rule.month] + ((rule.month == 2 and leap(year)) and 1 or 0)
    while day >= length do day = day - 7 end
    return (first + day) * 86400 + rule.at
end

--- The bytes of a zone's file -> what M.utc reads.
---@param bytes string
function M.read(bytes)
    local c, at, width = counts(bytes, 1), 45, 4
    if bytes:byte(5) >= 50 then -- version 2: the same again with 8 bytes
        at = at + c.time * 5 + c.type * 6 + c.char + c.leap * 8 + c.std + c.utc
        c, at, width = counts(bytes, at), at + 44, 8
    end
    local zone = { times = {}, offsets = {}, all = {} }
    local types = at + c.time * (width + 1)
    local seen = {}
    for i = 1, c.type do
        local offset = number(bytes, types + (i - 1) * 6, 4)
        zone.all[i] = offset
        seen[i - 1] = offset
    end
    for i = 1, c.time do
        zone.times[i] = number(bytes, at + (i - 1) * width, width)
        zone.offsets[i] = seen[bytes:byte(at + c.time * width + i - 1)]
    end
    zone.first = zone.all[1] or 0
    local past = types + c.type * 6 + c.char + c.leap * (width + 4) + c.std + c.utc
    zone.rule = footer(bytes:match("^\n([^\n]*)\n", past) or "")
    if zone.rule then
        zone.all[#zone.all + 1] = zone.rule.standard
        zone.all[#zone.all + 1] = zone.rule.summer
    end
    return zone
end

--- Seconds east of Greenwich at a moment.
function M.offset(zone, utc)
    local n = #zone.times
    if n == 0 or utc < zone.times[1] then
        if n > 0 or not zone.rule then return zone.first end
    elseif utc < zone.times[n] or not zone.rule then
        local low, high = 1, n
        while low < high do
            local middle = (low + high + 1) // 2
            if zone.times[middle] <= utc then low = middle else high = middle - 1 end
        end
        return zone.offsets[low]
    end
    local rule = zone.rule
    local year = 1970 + utc // 31556952
    local from, to = date_in(rule.from, year) - rule.standard, date_in(rule.to, year) - rule.summer
    local summer
    if from < to then summer = utc >= from and utc < to else summer = utc >= from or utc < to end
    return summer and rule.summer or rule.standard
end

--- Local seconds -> UTC seconds; nil when the clocks leap over that time. What happens twice (the
--- clocks go back) is its first time.
function M.utc(zone, seconds)
    local best
    for _, offset in ipairs(zone.all) do
        local utc = seconds - offset
        if M.offset(zone, utc) == offset and (not best or utc < best) then best = utc end
    end
    return best
end

return M
