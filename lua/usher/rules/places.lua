--- Which seats for whom: accessible places, channels, whole tables, sections one after another.
local common = require "usher.rules.common"
local policy = require "usher.policy"
local rule = policy.rule

local M = {}

-- ---- Accessible places ------------------------------------------------------------

---@class AccessibleSpec
---@field companions? integer 0 to 3 for each ticket, 1 when not given
---@field type? string the ticket type, "wheelchair" when not given
---@field release? { companion?: integer|string, accessible?: integer|string }
---@field exempt? string[]

--- Accessible seats are for tickets of a type (`A1=wheelchair`), and each such ticket brings up
--- to `companions` people (0 to 3, 1 when not given) into companion seats of the same order.
--- `release` opens them to everybody in stages: `companion` seats first, `accessible` ones
--- later, at a time or at "-2h" before the event's attribute `start`. A hold is judged again when it
--- is confirmed: it may have given the ticket back that its company came with.
---@param spec? AccessibleSpec
---@return Rule
function M.accessible(spec)
    local copy, companions = {}, 1
    for key, value in pairs(spec or {}) do copy[key] = value end
    if copy.companions ~= nil then
        companions, copy.companions = copy.companions, nil
        if math.type(companions) ~= "integer" or companions < 0 or companions > 3 then
            common.misuse(2, "accessible: companions is a number from 0 to 3")
        end
    end
    local given = common.read("accessible", copy, { type = "text", release = "table" })
    local release = common.read("accessible: release", given.release,
        { companion = "moment", accessible = "moment" })
    local kind = given.type or "wheelchair"
    local function open(tx, ask, stage)
        return release[stage] ~= nil and tx.now >= release[stage](ask.event)
    end
    return rule {
        name = "accessible", exempt = given.exempt, on = common.PARTY,
        check = function(tx, ask)
            local users, company, last = 0, 0, nil
            for _, place in ipairs(ask.seats) do
                local seat = place.seat
                if seat and seat.accessible then
                    if place.type == kind then
                        users = users + 1
                    elseif not open(tx, ask, "accessible") then
                        return nil, { seat = seat, message = "SEAT is kept for wheelchair users",
                            hint = ("for one of them: %s=%s"):format(seat.label, kind) }
                    end
                elseif seat and seat.companion then
                    company, last = company + 1, seat
                end
            end
            if company <= users * companions or open(tx, ask, "companion") then return true end
            return nil, { seat = last, message = "SEAT is kept for companions of wheelchair users",
                hint = companions == 0 and "take another seat"
                    or ("each %s ticket of the order brings up to %d"):format(kind, companions) }
        end,
    }
end

-- ---- Channels -----------------------------------------------------------------------

-- Does a word of a channel's `seats` name this seat? "A1", or "A1..A8" in physical order.
local function named(seat, word)
    local from, to = word:match("^(.-)%.%.(.+)$")
    if not from then return seat.label == word end
    local a, b = seat.event:seat(from), seat.event:seat(to)
    if not a or not b or a.row ~= seat.row or b.row ~= seat.row then return false end
    local low, high = math.min(a.position, b.position), math.max(a.position, b.position)
    return seat.position >= low and seat.position <= high
end

local function channel_of(number, spec)
    local what = ("channels: channel %d"):format(number)
    local out = common.read(what, spec, { keys = "texts", seats = "texts", sections = "texts",
        categories = "texts", roles = "texts", release = "moment" }, 4)
    if not (out.keys or out.roles) then common.misuse(3, "%s: keys or roles are needed", what) end
    if not (out.seats or out.sections or out.categories) then
        common.misuse(3, "%s: seats, sections or categories are needed", what)
    end
    out.in_section, out.in_category = common.set(out.sections), common.set(out.categories)
    return out
end

-- Refuses what is no list of channels, with `exempt` perhaps.
local function check_channels(list)
    local copy = {}
    for key, value in pairs(type(list) == "table" and list or {}) do
        if key ~= "exempt" then copy[key] = value end
        if key ~= "exempt" and math.type(key) ~= "integer" then
            common.misuse(3, "channels: '%s' is no channel: a list is expected", tostring(key))
        end
    end
    if next(copy) == nil then common.misuse(3, "channels: a list of channels is expected") end
    local fault = policy.list_fault(copy)
    if fault then common.misuse(3, "channels%s", fault) end
end

local function has_key(channel, ask)
    for _, key in ipairs(channel.keys or {}) do
        if ask.codes[key] then return true end
    end
    for _, role in ipairs(channel.roles or {}) do
        if ask.user.roles[role] then return true end
    end
    return false
end

local function has_seat(channel, seat)
    if channel.in_section[seat.section] or channel.in_category[seat.category] then return true end
    for _, word in ipairs(channel.seats or {}) do
        if named(seat, word) then return true end
    end
    return false
end

local function has_area(channel, area)
    if channel.in_category[area.category] then return true end
    for _, word in ipairs(channel.seats or {}) do
        if word == area.name then return true end
    end
    return false
end

---@class Channel
---@field keys? string[]
---@field roles? string[]
---@field seats? string[] labels, ranges such as "A1..A8", names of areas
---@field sections? string[]
---@field categories? string[]
---@field release? integer|string

--- Seats and areas kept for sales channels. Each channel names its seats (labels, ranges "A1..A8" of a
--- row, areas, sections, categories) and who may take them: whoever gives one of its `keys` with --code, or
--- has one of its `roles`. From `release` on they are for everybody. A seat of several channels
--- is open to any of them; a seat of none is open to all.
---@param list Channel[]
---@return Rule
function M.channels(list)
    check_channels(list)
    local channels, exempt = {}, common.read("channels", { exempt = list.exempt }, {}).exempt
    for i, spec in ipairs(list) do channels[i] = channel_of(i, spec) end
    -- May it be taken? `has` says whether a channel has it.
    local function open(tx, ask, place, has)
        local kept = false
        for _, channel in ipairs(channels) do
            if has(channel, place) then
                if has_key(channel, ask) or (channel.release and tx.now >= channel.release(place.event)) then
                    return true
                end
                kept = true
            end
        end
        return not kept
    end
    local MESSAGE, HINT = "SEAT is kept for another channel", "give its key with --code"
    return rule {
        name = "channels", exempt = exempt, message = MESSAGE, hint = HINT,
        seat = function(tx, ask, seat) return open(tx, ask, seat, has_seat) end,
        check = function(tx, ask)
            for _, place in ipairs(ask.gains) do
                if place.area and not open(tx, ask, place.area, has_area) then
                    return nil, { seat = place.area, message = MESSAGE, hint = HINT }
                end
            end
            return true
        end,
    }
end

-- ---- Tables ---------------------------------------------------------------------------

--- Tables are sold whole: an order that has a seat at a table has all its seats, but for the
--- tables named in `shared`, which are sold seat by seat. Seats at no table are free to all. A hold
--- is judged again when it is confirmed: it may have given a part of a table back.
---@param spec? { shared?: string[], exempt?: string[] }
---@return Rule
function M.whole_tables(spec)
    local given = common.read("whole_tables", spec, { shared = "texts" })
    local shared = common.set(given.shared)
    return rule {
        name = "whole_tables", exempt = given.exempt, on = common.PARTY,
        check = function(_, ask)
            local mine, order = {}, {}
            for _, place in ipairs(ask.seats) do
                local seat = place.seat
                local name = seat and seat.table
                if name and not shared[name] then
                    if not mine[name] then mine[name], order[#order + 1] = 0, name end
                    mine[name] = mine[name] + 1
                end
            end
            for _, name in ipairs(order) do
                local seats_at = ask.event:table(name)
                if mine[name] < #seats_at then
                    return nil, { message = ("table %s is sold whole: it has %d seats"):format(name, #seats_at),
                        otherwise = common.party_hint(ask, "take all of them, or another table"),
                        alternative = #order == 1 and seats_at or nil }
                end
            end
            return true
        end,
    }
end

-- ---- Sections -------------------------------------------------------------------------

--- Sections are sold one after another: seats of the next one may be taken only when `at`
--- percent of the seats of each one before are taken (held or booked; blocked ones do not
--- count), or when no block of the party's size is left there. The order is that of `sections`, else
--- that of the chart; sections that are not listed are open.
---
--- What is given back is not judged: who holds seats for a large party, for which there is no room
--- before, and then releases some of them keeps the others.
---@param spec { at: number, sections?: string[], exempt?: string[] }
---@return Rule
function M.section_order(spec)
    local given = common.read("section_order", spec, { at = "percent", sections = "texts" })
    if not given.at or given.at > 100 then
        common.misuse(2, "section_order: at is a percentage up to 100")
    end
    -- The sections that are open, by name; those not listed are missing.
    local function open_sections(tx, ask)
        local by_name, names = {}, given.sections or {}
        for _, section in ipairs(ask.event:sections()) do
            by_name[section.name] = section
            if not given.sections then names[#names + 1] = section.name end
        end
        local size = ask.count or math.max(#common.seats(ask.gains), 1)
        local open, before = {}, true
        for _, name in ipairs(names) do
            local section = by_name[name]
            open[name] = before
            if section and before then
                local taken = section.held + section.booked
                before = taken * 100 >= given.at * (taken + section.free)
                    or #tx:near(section.first, size, { most = 1, section = true, far = true, any = true }) == 0
            end
        end
        return open
    end
    local key = {} -- of what this rule keeps on an ask: sections are counted once for each
    return rule {
        name = "section_order", exempt = given.exempt,
        message = "SEAT is in a section that is not open yet", hint = "take seats of the one before",
        seat = function(tx, ask, seat)
            local known = rawget(ask, key)
            if not known or known.event ~= ask.event then
                known = { event = ask.event, open = open_sections(tx, ask) }
                rawset(ask, key, known)
            end
            return known.open[seat.section] ~= false
        end,
    }
end

return M
