--- What the shipped rules share: checked parameters, places of an ask, moments in time.
local policy = require "usher.policy"

local M = {}

-- ---- Parameters -------------------------------------------------------------------

local function misuse(level, text, ...) error(text:format(...), level + 1) end

-- What is wrong with a list of texts, as the end of an error behind its name.
local function texts_fault(list)
    local fault = policy.list_fault(list)
    if fault then return fault end
    for i, text in ipairs(list) do
        if type(text) ~= "string" then return ("[%d] is a %s, not a text"):format(i, type(text)) end
        if text == "" then return ("[%d] is an empty text"):format(i) end
    end
end

--- Each kind of parameter: what it is called in an error, and what it accepts (nil: not that, and what
--- is wrong within it, where that can be said).
local KINDS = {
    count = { "a whole number, 1 or more",
        function(v) return math.type(v) == "integer" and v >= 1 and v or nil end },
    percent = { "a percentage above 0",
        function(v) return type(v) == "number" and v > 0 and v or nil end },
    number = { "a number above 0",
        function(v) return type(v) == "number" and v > 0 and v or nil end },
    boolean = { "true or false", function(v) if type(v) == "boolean" then return v end end },
    text = { "a text", function(v) return type(v) == "string" and v ~= "" and v or nil end },
    texts = { "a list of texts", function(v)
        if type(v) == "string" then v = { v } end
        if type(v) ~= "table" or next(v) == nil then return nil end
        local fault = texts_fault(v)
        if fault then return nil, fault end
        return v
    end },
    duration = { 'a duration such as "15m"', function(v)
        local ms = policy.duration(v)
        return ms and ms > 0 and ms or nil
    end },
    moment = { 'a time that exists, such as "2026-05-01 10:00", or "-48h" before the event\'s start',
        function(v) return M.moment(v) end },
    table = { "a table", function(v) return type(v) == "table" and v or nil end },
}
KINDS.roles = { "a list of roles", KINDS.texts[2] }

-- The value as one of that kind; else the error is of whoever called what `level` stands for.
local function checked(level, rule, name, kind, value)
    local out, fault = KINDS[kind][2](value)
    if out ~= nil then return out end
    if fault then misuse(level + 1, "%s: %s%s", rule, name, fault) end
    misuse(level + 1, "%s: %s must be %s", rule, name, KINDS[kind][1])
end

local function sorted(keys)
    local out = {}
    for key in pairs(keys) do out[#out + 1] = tostring(key) end
    table.sort(out)
    return table.concat(out, ", ")
end

--- Reads a rule's parameters. `kinds` names the kind of each; each also takes `exempt`,
--- a list of roles (such as "box-office") that it does not concern.
---@param rule string its name, for errors
---@param spec table|nil
---@param kinds table<string, string>
---@param level? integer whose mistake it is, as of `error`; 3, who called the caller
---@return table values checked: durations in ms, moments as functions
function M.read(rule, spec, kinds, level)
    level = level or 3
    local out = {}
    if spec == nil then return out end
    if type(spec) ~= "table" then misuse(level, "%s: a table of parameters is expected", rule) end
    for key, value in pairs(spec) do
        local kind = key == "exempt" and "roles" or kinds[key]
        if not kind then
            local others = sorted(kinds)
            misuse(level, "%s: there is no parameter '%s'; it takes %s%sexempt", rule, tostring(key), others,
                others ~= "" and ", " or "")
        end
        out[key] = checked(level, rule, key, kind, value)
    end
    return out
end

--- One value that a rule cannot do without.
function M.need(rule, name, kind, value)
    local read = checked(3, rule, name, kind, value) -- no tail call: the levels are counted
    return read
end

M.misuse = misuse

--- Verbs of a rule about what a party is made of: a hold may have given some of its seats back
--- since it was taken, which nothing judges, so the booking is judged again.
M.PARTY = { "take", "reseat", "confirm" }

--- What to do about a party that is not as it should be. A hold takes no more seats: what it lacks
--- has to be taken anew.
---@param ask Ask
---@param text string for a take or a move
---@return string
function M.party_hint(ask, text)
    return ask.verb == "confirm" and "release the hold, then " .. text or text
end

-- ---- Places -----------------------------------------------------------------------

--- Places of the asked event, areas counted by heads.
---@param places Place[]
---@param event Event
---@return integer
function M.heads(places, event)
    local n = 0
    for i = 1, #places do
        local place = places[i]
        if place.event == event then n = n + place.count end
    end
    return n
end

--- Does a move leave the order no more places of the event than it had? Who lawfully has more than
--- a limit (an exempt role gave them, or the policy was laxer) may still sit elsewhere.
---@param ask Ask
---@param count? fun(places: Place[], event: Event): integer how the limit counts, else by heads
---@return boolean
function M.adds_nothing(ask, count)
    count = count or M.heads
    return ask.verb == "reseat" and count(ask.gains, ask.event) <= count(ask.leaves, ask.event)
end

--- Does a move leave the order as many places of the event as it had?
---@param ask Ask
---@return boolean
function M.keeps_size(ask)
    return ask.verb == "reseat" and M.heads(ask.gains, ask.event) == M.heads(ask.leaves, ask.event)
end

--- The numbered seats among the places.
---@param places Place[]
---@return Seat[]
function M.seats(places)
    local out = {}
    for _, place in ipairs(places) do
        if place.seat then out[#out + 1] = place.seat end
    end
    return out
end

--- The seats' labels, as a list for an answer.
function M.labels(seats)
    local out = json and json.list {} or {}
    for i, seat in ipairs(seats) do out[i] = type(seat) == "string" and seat or seat.label end
    return out
end

--- A list of names as a set.
function M.set(list)
    local out = {}
    for _, name in ipairs(list or {}) do out[name] = true end
    return out
end

-- ---- Time ---------------------------------------------------------------------------

local function days(year, month, day)
    year = month <= 2 and year - 1 or year
    local era = year // 400
    local y = year - era * 400
    local d = (153 * (month + (month > 2 and -3 or 9)) + 2) // 5 + day - 1
    return era * 146097 + y * 365 + y // 4 - y // 100 + d - 719468
end

local function month_days(year, month)
    return days(month == 12 and year + 1 or year, month % 12 + 1, 1) - days(year, month, 1)
end

--- A time in ms: an integer (ms since 1970), or UTC text such as "2026-05-01 10:00".
---@param value integer|string
---@return integer|nil
function M.time(value)
    if math.type(value) == "integer" then return value end
    if type(value) ~= "string" then return nil end
    local year, month, day, rest = value:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)(.*)$")
    if not year then return nil end
    local hour, minute, second = "0", "0", "0"
    if rest ~= "" then
        hour, minute, rest = rest:match("^[T ](%d%d):(%d%d)(.*)$")
        if not hour then return nil end
        second = rest:match("^:(%d%d)Z?$") or ((rest == "" or rest == "Z") and "0") or nil
        if not second then return nil end
    end
    local y, m, d = math.tointeger(year), math.tointeger(month), math.tointeger(day)
    if m < 1 or m > 12 or d < 1 or d > month_days(y, m) or math.tointeger(hour) > 23
        or math.tointeger(minute) > 59 or math.tointeger(second) > 59 then
        return nil
    end
    return ((days(y, m, d) * 24 + math.tointeger(hour)) * 60 + math.tointeger(minute)) * 60000
        + math.tointeger(second) * 1000
end

--- When the event starts: its attribute `start`, in ms or as UTC text.
---@param event Event
---@return integer ms
function M.start_of(event)
    local attributes = event.attributes
    local start = M.time(attributes.start)
    if not start then
        policy.deny { code = "CONFLICT", message = ("event %s does not say when it starts"):format(event.id),
            hint = [[set-event EVENT --attributes '{"start":"2026-05-01 20:00"}']] }
    end
    return start
end

--- A moment: a time, or a duration with a sign that is counted from the event's start.
---@param value integer|string
---@return nil|fun(event: Event): integer
function M.moment(value)
    local at = M.time(value)
    if at then return function() return at end end
    local sign, text = tostring(value):match("^([+-])(.+)$")
    local ms = sign and policy.duration(text)
    if not ms then return nil end
    if sign == "-" then ms = -ms end
    return function(event) return M.start_of(event) + ms end
end

return M
