--- Runs the rules of a policy over an `ask` (docs/lua.md, 3).
---
--- The VM builds the ask in C, calls `judge` and raises what it returns. Everything here runs
--- with effects forbidden, under the transaction's budget.
local elsewhere = require "usher.elsewhere"
local near = require "usher.near"
local policy = require "usher.policy"

local M = {}

---@class Ask what a rule judges, as the places will be once it is granted
---@field verb "take"|"confirm"|"reseat"|"extend"|"wait" to wait: who joins the waiting list has no seats yet
---@field command string
---@field event Event the one being judged; rules run once for each event touched (by a move: changed)
---@field seats Place[] all places at this event after the request
---@field size integer how many places those are, areas by heads; to wait: how many it waits for
---@field all Place[] all places after the request, at every event it touches
---@field gains Place[] those of them that are new (all, for a take)
---@field leaves Place[] places at this event that a move gives up, or a swap to the other order
---@field order? Order
---@field customer string
---@field user User who asks
---@field codes table<string, true> given with --code
---@field metadata? string
---@field after "held"|"booked" what the seats will be
---@field expires_at? integer ms, until when a take or an extend holds
---@field count? integer while `best` asks seat rules: the size of the party
---@field exchange? boolean a swap, judged after it was done
---@field waiting? integer ms, an offer of the waiting list, or joining it: since when the customer waits
local Ask = {}

-- Members that few rules look at are made when one does.
local LAZY = {
    user = function(tx) return tx.user end,
    codes = function(tx) return tx:codes() end,
    seats = function() return {} end,
    gains = function() return {} end,
    leaves = function() return {} end,
    all = function(_, ask) return ask.seats end,
}
-- Members that not every ask has. All others raise, as with objects: a misspelt one is no nil.
local ABSENT = { order = true, metadata = true, expires_at = true, count = true, exchange = true, waiting = true,
    event = true, size = true, events = true, plan = true }
local ALWAYS = { verb = true, command = true, customer = true, after = true }

local function refuse_field(key)
    local names = {}
    for _, set in ipairs { LAZY, Ask, ABSENT, ALWAYS } do
        for name in next, set do names[name] = true end
    end
    local name = type(key) == "string" and near.nearest(key, names)
    error(("ask has no field '%s'%s"):format(tostring(key),
        name and ("; did you mean '%s'?"):format(name) or ""), 3)
end

local the_tx -- the VM has one

local ask_meta = { __index = function(ask, key)
    local make = LAZY[key]
    if not make then
        local method = Ask[key]
        if method == nil and not ABSENT[key] then refuse_field(key) end
        return method
    end
    local value = make(the_tx, ask)
    rawset(ask, key, value)
    return value
end }

-- What the places will be once the request is granted; made when first asked for.
local function plan_of(ask)
    local plan = rawget(ask, "plan")
    if plan then return plan end
    plan = {}
    for _, place in ipairs(ask.exchange and {} or ask.leaves) do -- exchanged: the other order has it
        if place.seat then plan[place.seat] = "free" end
    end
    local after = ask.verb == "confirm" and "booked" or ask.after
    for _, place in ipairs(ask.seats) do
        if place.seat then plan[place.seat] = after end
    end
    rawset(ask, "plan", plan)
    return plan
end

--- A seat's status as if the request had been granted.
---@param seat Seat|Place
---@return "free"|"held"|"booked"|"blocked"
function Ask:status(seat)
    return plan_of(self)[seat.seat] or seat.status
end

local function at_event(places, event)
    local out, size = {}, 0
    for _, place in ipairs(places) do
        if place.event == event then
            out[#out + 1] = place
            size = size + place.count
        end
    end
    return out, size
end

--- Gives the ask what it has besides its fields.
function M.complete(tx, ask)
    the_tx = tx
    ask.after = ask.after or (ask.order and ask.order.status == "booked" and "booked") or "held"
    return setmetatable(ask, ask_meta)
end

-- The ask as the rules of one of its several events see it.
local function view(ask, event)
    local one = {}
    for key, value in next, ask do one[key] = value end
    one.event, one.plan, one.all = event, nil, ask.seats
    one.seats, one.size = at_event(ask.seats, event)
    one.gains = at_event(ask.gains, event)
    one.leaves = at_event(ask.leaves, event)
    return setmetatable(one, ask_meta)
end

local function any_at(places, event)
    for i = 1, #places do
        if places[i].event == event then return true end
    end
    return false
end

-- Are these the same places, with the same tickets? What a place comes with is not kept: it is new.
local function same_places(before, after)
    if #before ~= #after then return false end
    for i, place in ipairs(after) do
        local was = before[i]
        if place.label ~= was.label or place.type ~= was.type or place.count ~= was.count or place.data then
            return false
        end
    end
    return true
end

local function touches(ask, event)
    if any_at(ask.gains, event) or any_at(ask.leaves, event) then return true end
    local before, after = at_event(ask.order.seats, event), at_event(ask.seats, event)
    return not same_places(before, after)
end

-- A move is judged at the events where it changes something: the others may have begun, say. One that
-- changes nothing anywhere is judged at all of them.
local function touched(ask, events)
    if ask.verb ~= "reseat" or not ask.order then return events end
    local some = {}
    for _, event in ipairs(events) do
        if touches(ask, event) then some[#some + 1] = event end
    end
    return some[1] and some or events
end

local function exempted(rule, ask)
    local roles = ask.user.roles
    for role in next, rule.exempt do
        if roles[role] then return true end
    end
    return false
end

-- Of several roles the first by name.
local function exempting(rule, ask)
    local first
    for role in next, rule.exempt do
        if ask.user.roles[role] and (not first or role < first) then first = role end
    end
    return first
end

local function label_of(seat)
    if type(seat) == "string" or seat == nil then return seat end
    return seat.label
end

--- Where a function is defined, "policy.lua:5"; the VM's own.
---@type fun(f: function): string
M.where = nil

local HOW = "end it with `return true`, or refuse with `return nil, { message = ... }` or deny{}"

-- A mistake in what a rule's function ("check" or "seat") says: its author is told, and nothing is granted by it.
local function misuse(rule, member, text, ...)
    error(("the %s of the rule '%s' (%s) "):format(member, rule.name, M.where(rule[member])) .. text:format(...), 0)
end

-- What a rule's function raised: a denial, or a mistake in it.
local function raised(rule, member, value)
    if type(value) ~= "table" then error(value, 0) end
    if value.code == nil and value.message == nil then
        misuse(rule, member, "raised a table without a message: deny{} makes a denial")
    end
    local wrong = policy.wrong_members(value)
    if wrong then misuse(rule, member, "raised: %s", wrong) end
    return value
end

local function refused(rule, count, granted, denial)
    if count == 0 then misuse(rule, "check", "returned nothing: %s", HOW) end
    if granted then misuse(rule, "check", "returned a %s: %s", type(granted), HOW) end
    if denial == nil then return { message = rule.message } end
    if type(denial) == "string" then return { message = denial } end
    if type(denial) ~= "table" then misuse(rule, "check", "refused with a %s: %s", type(denial), HOW) end
    local wrong = policy.wrong_denial(denial)
    if wrong then misuse(rule, "check", "refused: %s", wrong) end
    return denial
end

-- What is true but not `true` grants, except what was meant to be a denial.
local function returned(rule, ok, ...)
    local granted = ...
    if ok and granted then
        if granted == true or (type(granted) ~= "table" and type(granted) ~= "string") then return nil end
    elseif not ok then
        return raised(rule, "check", granted)
    end
    return refused(rule, select("#", ...), ...)
end

-- What keeps all its places gains none: there each of them is judged.
local KEEPS = { confirm = true, extend = true }

-- The denial of a seat is about that seat, unless it names another.
local function about(seat, denial)
    if denial.seat ~= nil then return denial end
    local out = { seat = seat }
    for key, value in next, denial do out[key] = value end
    return out
end

local function judge_seats(tx, ask, rule)
    local places = KEEPS[ask.verb] and ask.seats or ask.gains
    for _, place in ipairs(places) do
        local seat = place.seat
        if seat then
            local ok, fits = pcall(rule.seat, tx, ask, seat, place)
            if not ok then return about(seat, raised(rule, "seat", fits)) end
            if not fits then return { seat = seat, message = rule.message } end
        end
    end
end

-- A rule's denial with everything filled in.
local function completed(tx, rule, denial)
    local out = {}
    for key, value in next, denial do out[key] = value end
    out.code = denial.code or rule.code
    out.message = denial.message or rule.message or ("the rule " .. rule.name .. " refuses this")
    out.hint = denial.hint or rule.hint
    out.rule = denial.rule or rule.name
    out.policy = tx.policy.version
    out.seat = label_of(denial.seat)
    return out
end

local function note(trace, rule, event, denial, exempt)
    local message = denial and denial.message
    if message then
        local seat = (denial.seat or "a seat"):gsub("%%", "%%%%")
        message = tostring(message):gsub("%f[%w_]SEAT%f[^%w_]", seat)
    end
    trace[#trace + 1] = { rule = rule.name, event = event.id, ok = denial == nil,
        code = denial and denial.code, message = message, exempt = exempt }
end

-- The first denial at one event; `trace` takes what each rule says. Hot path: few steps for each
-- rule that grants.
local function judge_at(tx, ask, event, trace)
    local first
    local rules = tx:settings(event).judges[ask.verb]
    for i = 1, #rules do
        local rule = rules[i]
        if not rule.exempts or not exempted(rule, ask) then
            local denial = rule.seat and judge_seats(tx, ask, rule)
            if not denial and rule.check then
                denial = returned(rule, pcall(rule.check, tx, ask))
            end
            if denial then denial = completed(tx, rule, denial) end
            if trace then
                note(trace, rule, event, denial or nil)
            elseif denial then
                return denial
            end
            first = first or denial or nil
        elseif trace then
            note(trace, rule, event, nil, exempting(rule, ask))
        end
    end
    return first
end

--- Judges a request. In a dry run (`trace` is a list) every rule is asked and noted.
---@param tx Tx
---@param ask table as the VM makes it: with `event`, or with `events` when there are several
---@param trace? table[]
---@return table|nil denial the first one
function M.judge(tx, ask, trace)
    M.complete(tx, ask)
    local events = rawget(ask, "events")
    if not events then return judge_at(tx, ask, ask.event, trace) end
    local first
    for _, event in ipairs(touched(ask, events)) do
        local denial = judge_at(tx, view(ask, event), event, trace)
        if denial and not trace then return denial end
        first = first or denial
    end
    return first
end

-- ---- The nearest alternative that every rule grants ----------------------------------

local TRIES = 8

-- Ticket types go with the seats, in their order; a block of another size is for all of one type.
local function type_of(ask, seats, i)
    local gained = ask.gains[#seats == #ask.gains and i or 1]
    return gained and gained.type
end

-- The seats as words that can be asked for.
local function words_of(ask, seats)
    local out, several = json.list {}, rawget(ask, "events") ~= nil
    for i, seat in ipairs(seats) do
        local kind = type_of(ask, seats, i)
        local label = several and seat.event.id .. ":" .. seat.label or seat.label
        out[i] = kind and label .. "=" .. kind or label
    end
    return out
end

-- A seat as a place with its ticket type.
local function place_of(seat, kind)
    if not kind then return seat end
    return setmetatable({ seat = seat, type = kind }, { __index = function(_, key) return seat[key] end })
end

local function same(seats, places)
    local set = {}
    for _, place in ipairs(places) do set[place.seat] = true end
    for _, seat in ipairs(seats) do
        if not set[seat] then return false end
    end
    return #seats == #places
end

-- The request as it would be with these seats instead of those it wanted to take.
local function instead(ask, seats)
    local one, gained = {}, {}
    for key, value in next, ask do one[key] = value end
    one.plan, one.all, one.seats, one.gains = nil, nil, {}, {}
    for i, seat in ipairs(seats) do one.gains[i] = place_of(seat, type_of(ask, seats, i)) end
    for _, place in ipairs(ask.gains) do gained[place.seat] = true end
    for _, place in ipairs(ask.seats) do
        if not gained[place.seat] then one.seats[#one.seats + 1] = place end
    end
    for _, place in ipairs(one.gains) do one.seats[#one.seats + 1] = place end
    local size = rawget(ask, "size") -- with several events each has its own
    one.size = size and size - #ask.gains + #seats
    return one
end

-- The seats that a rule proposes, which may give their labels.
local function proposed(ask, list)
    local out = {}
    for i, seat in ipairs(list) do out[i] = type(seat) == "string" and ask.event:seat(seat) or seat end
    return out
end

-- Blocks worth trying: what the rule itself proposes, then what is free close by.
local function candidates(tx, ask, denial)
    local list = {}
    if type(denial.alternative) == "table" then list[1] = proposed(ask, denial.alternative) end
    for _, block in ipairs(tx:near(ask.gains[1].seat, #ask.gains,
        { most = TRIES, singles = denial.singles, leaves = ask.leaves })) do
        list[#list + 1] = block
    end
    return list
end

-- Has every place a price, where there is a price function?
local function has_price(tx, ask)
    for _, place in ipairs(ask.seats) do
        local price = tx:settings(place.event).price
        if price then
            local ok, each = pcall(price, tx, ask, place)
            if not ok and type(each) ~= "table" then error(each, 0) end
            each = ok and math.tointeger(each)
            if not each or each < 0 then return false end
        end
    end
    return true
end

local function fits(tx, ask, seats)
    for _, seat in ipairs(seats) do
        if type(seat) ~= "userdata" or seat.status ~= "free" then return false end
    end
    if #seats == 0 or same(seats, ask.gains) then return false end
    local one = instead(ask, seats)
    return M.judge(tx, one) == nil and has_price(tx, one)
end

local function propose(denial, words)
    denial.alternative = words
    denial.hint = (denial.hint and denial.hint .. "; " or "") .. "possible: "
        .. table.concat(denial.alternative, " ")
end

-- How long a take holds, or nil.
local function hold_of(tx, ask)
    local held = ask.verb == "take" and ask.after == "held" and ask.expires_at
    return held and held - tx.now or nil
end

-- Seats from the whole house, when none close by will do.
local function far_away(tx, ask)
    return elsewhere.find(tx, ask.gains, { customer = ask.customer, hold = hold_of(tx, ask), order = ask.order,
        leaves = ask.leaves })
end

-- Words with another area, when the denial is about one.
local function other_area(tx, ask, label)
    return elsewhere.area(tx, { verb = ask.verb, customer = ask.customer, seats = ask.seats, gains = ask.gains,
        leaves = ask.leaves, order = ask.order, hold = hold_of(tx, ask), metadata = ask.metadata,
        home = rawget(ask, "event") }, label)
end

--- Completes a denial that is about a seat or an area: places that would be granted in place of those asked
--- for, as near as possible, or no alternative at all. Only one that all rules grant is named, and that has
--- a price.
---@param tx Tx
---@param ask table as it was judged
---@param denial table
function M.alternative(tx, ask, denial)
    if not denial.seat and not denial.alternative then
        denial.hint = denial.hint or denial.otherwise
        return
    end
    local tries, numbered = {}, false
    if ask.verb ~= "confirm" and not ask.exchange and #ask.gains > 0 then
        local one_type = true
        numbered = true
        for _, place in ipairs(ask.gains) do
            numbered = numbered and place.seat ~= nil
            one_type = one_type and place.type == ask.gains[1].type
        end
        -- What a rule proposes may be of another size, where mixed types fit nowhere.
        if not one_type and type(denial.alternative) == "table" and #denial.alternative ~= #ask.gains then
            denial.alternative = nil
        end
        if numbered and not rawget(ask, "events") then tries = candidates(tx, ask, denial) end
    end
    denial.alternative = nil
    for _, seats in ipairs(tries) do
        if fits(tx, ask, seats) then return propose(denial, words_of(ask, seats)) end
    end
    denial.hint = denial.hint or denial.otherwise
    -- A late confirm takes what it had.
    if #ask.gains == 0 or ask.exchange or ask.verb == "take" and ask.order then return end
    if numbered then
        local seats = far_away(tx, ask)
        if seats and fits(tx, ask, seats) then propose(denial, words_of(ask, seats)) end
    elseif denial.seat then
        local words = other_area(tx, ask, denial.seat)
        if words then propose(denial, words) end
    end
end

--- May tx:best offer this seat? Asks only the rules that look at single seats; says which one
--- refuses.
---@param tx Tx
---@param ask table as the VM makes it, without seats
---@param seat Seat
---@return boolean, string?
function M.filter(tx, ask, seat)
    local event = seat.event
    if rawget(ask, "event") ~= event then
        ask.event, ask.plan = event, nil
        M.complete(tx, ask)
    end
    for _, rule in ipairs(tx:settings(event).judges[ask.verb]) do
        if rule.seat and not (rule.exempts and exempted(rule, ask)) then
            local ok, yes = pcall(rule.seat, tx, ask, seat)
            if not ok then raised(rule, "seat", yes) end
            if not ok or not yes then return false, rule.name end
        end
    end
    return true
end

return M
