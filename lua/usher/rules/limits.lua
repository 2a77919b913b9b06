--- How many: limits for customers, parties and events.
local common = require "usher.rules.common"
local rule = require("usher.policy").rule
local heads = common.heads

local M = {}

local function is(n) return n == 1 and "1 is" or n .. " are" end
local function was(n) return n == 1 and "1 was" or n .. " were" end

--- At most `n` places for each customer at an event, over holds and bookings. Places of an
--- area count by heads. What has ended does not count any more. A move that adds no place is granted,
--- also to who has more than that.
---@param n integer places
---@param spec? { exempt?: string[], category?: string } category: only places of that one
---@return Rule
function M.max_per_customer(n, spec)
    n = common.need("max_per_customer", "the limit", "count", n)
    local given = common.read("max_per_customer", spec, { category = "text" })
    local category = given.category
    local function count(places, event)
        if not category then return heads(places, event) end
        local sum = 0
        for _, place in ipairs(places) do
            if place.event == event and place.category == category then sum = sum + place.count end
        end
        return sum
    end
    return rule {
        name = "max_per_customer", code = "LIMIT", exempt = given.exempt,
        check = function(tx, ask)
            if common.adds_nothing(ask, count) then return true end
            local event = ask.event
            local held, booked = tx:count(event, ask.customer, category)
            local has = held + booked
            if ask.verb ~= "take" and ask.order then has = has - count(ask.order.seats, event) end
            local wants = category and count(ask.seats, event) or ask.size
            if has + wants <= n or wants == 0 then return true end
            local left = math.max(n - has, 0)
            return nil, {
                message = ("at most %d seats for each customer at this event: %s taken already, "
                    .. "%s asked for"):format(n, is(has), was(wants)),
                hint = left > 0 and ("%d more may be taken"):format(left)
                    or "give a seat back first",
            }
        end,
    }
end

--- How many places one order may take at an event: at least `min`, at most `max`, a multiple of
--- `step`. A hold is judged again when it is confirmed: it may have given places back. So is a move
--- that changes how many the order has at an event. With at = "confirm" a hold may have any size, and
--- the size counts once it is booked.
---@param spec { min?: integer, max?: integer, step?: integer, at?: "confirm", exempt?: string[] }
---@return Rule
function M.party(spec)
    local given = common.read("party", spec,
        { min = "count", max = "count", step = "count", at = "text" })
    local min, max, step = given.min or 1, given.max, given.step or 1
    if max and max < min then common.misuse(2, "party: max is less than min") end
    if given.at and given.at ~= "confirm" then common.misuse(2, 'party: at is "confirm"') end
    return rule {
        name = "party", exempt = given.exempt,
        on = common.PARTY,
        check = function(_, ask)
            if given.at and ask.verb ~= "confirm" and ask.after == "held" then return true end
            if common.keeps_size(ask) then return true end
            local n = ask.size
            if n < min then
                return nil, { message = ("a party of %d is too small"):format(n),
                    hint = common.party_hint(ask, ("take at least %d seats together"):format(min)) }
            elseif max and n > max then
                return nil, { message = ("a party of %d is too large"):format(n),
                    hint = common.party_hint(ask, ("take at most %d seats at once"):format(max)) }
            elseif n % step ~= 0 then
                return nil, { message = ("%d seats cannot be taken together here"):format(n),
                    hint = common.party_hint(ask, ("take a multiple of %d seats"):format(step)) }
            end
            return true
        end,
    }
end

--- At most so many places of an event are taken (held and booked, by everybody): a number of
--- places, or a percentage of all seats and capacities of its chart, rounded down.
---@param spec { seats?: integer, percent?: number, exempt?: string[] }
---@return Rule
function M.occupancy(spec)
    local given = common.read("occupancy", spec, { seats = "count", percent = "percent" })
    if (given.seats == nil) == (given.percent == nil) then
        common.misuse(2, "occupancy: give either seats or percent")
    end
    return rule {
        name = "occupancy", code = "LIMIT", exempt = given.exempt,
        check = function(_, ask)
            if ask.exchange then return true end
            local event = ask.event
            local counts, total = event.counts, event.seats_total
            local taken = counts.held + counts.booked
            for _, area in ipairs(event:areas()) do
                total = total + area.capacity
                taken = taken + area.held + area.booked
            end
            local most = given.seats or math.floor(total * given.percent / 100)
            local more = ask.size
            if ask.order and ask.verb ~= "take" then more = more - heads(ask.order.seats, event) end
            if more <= 0 or taken + more <= most then return true end
            local left = math.max(most - taken, 0)
            return nil, {
                message = ("at most %d places of this event are sold, %s taken"):format(most, is(taken)),
                hint = left > 0 and ("%d more may be taken"):format(left)
                    or "wait until one is given back",
            }
        end,
    }
end

--- At most `n` places held at a time by one customer at an event; bookings do not count. A move that
--- adds no place is granted, also to who holds more.
---@param n integer places
---@param spec? { exempt?: string[] }
---@return Rule
function M.hold_cap(n, spec)
    n = common.need("hold_cap", "the cap", "count", n)
    local given = common.read("hold_cap", spec, {})
    return rule {
        name = "hold_cap", code = "LIMIT", exempt = given.exempt,
        check = function(tx, ask)
            if ask.after == "booked" or common.adds_nothing(ask) then return true end
            local held = tx:count(ask.event, ask.customer)
            if ask.verb ~= "take" and ask.order then held = held - heads(ask.order.seats, ask.event) end
            local wants = ask.size
            if held + wants <= n then return true end
            return nil, {
                message = ("at most %d places may be held at a time: %s, %s asked for"):format(n, is(held),
                    was(wants)),
                hint = held > 0 and "confirm or release a hold first" or ("hold at most %d"):format(n),
            }
        end,
    }
end

local function refuse_exempt(roles)
    if type(roles) == "table" then -- a number is that of an area of this name
        common.misuse(3, "overbook takes no exempt: whom it did not concern would have no limit at all")
    end
end

local function check_percentages(areas)
    if type(areas) ~= "table" or next(areas) == nil then
        common.misuse(3, "overbook: a table of areas and percentages is expected, such as { FLOOR = 110 }")
    end
    for name, percent in pairs(areas) do
        if type(name) ~= "string" or type(percent) ~= "number" or percent < 100 or percent > 1000 then
            common.misuse(3, "overbook: %s is not a percentage from 100 to 1000", tostring(name))
        end
    end
end

-- The event's areas by their category.
local function by_category(event)
    local out = {}
    for _, area in ipairs(event:areas()) do out[area.category] = area end
    return out
end

-- How many places of each area the request adds, a numbered seat as one of the area that `of`
-- has for its category: { { area=, count= } }.
local function added(ask, of)
    local list, known = {}, {}
    local function add(places, sign)
        for _, place in ipairs(places) do
            local area = place.event == ask.event and (place.area or of[place.category])
            local sum = area and known[area.name]
            if area and not sum then
                sum = { area = area, count = 0 }
                list[#list + 1], known[area.name] = sum, sum
            end
            if sum then sum.count = sum.count + sign * place.count end
        end
    end
    add(ask.seats, 1)
    if ask.order and ask.verb ~= "take" then add(ask.order.seats, -1) end
    return list
end

-- How many numbered seats of a category somebody has.
local function seats_taken(event, category)
    local n = 0
    for _, row in ipairs(event:rows()) do
        for i = 1, #row do
            local seat = row[i]
            if seat.category == category and (seat.status == "held" or seat.status == "booked") then n = n + 1 end
        end
    end
    return n
end

--- Areas may be sold beyond their capacity: `overbook { FLOOR = 110 }` up to 110 percent,
--- rounded down, of the area called FLOOR; `overbook { default = 105 }` for all others. Areas
--- that are not named end at their capacity. Numbered seats are never sold twice. It takes no
--- `exempt`: whom it did not concern could sell without any limit.
---
--- With seats = true a numbered seat that is taken counts as a place of the area of its category: for
--- cabins whose passengers are given seats later, who would else leave room to sell their place again.
---@param areas table<string, number> area name -> percent, 100 or more
---@param spec? { seats?: boolean }
---@return Rule
function M.overbook(areas, spec)
    refuse_exempt(type(areas) == "table" and areas.exempt)
    check_percentages(areas)
    local given = common.read("overbook", spec, { seats = "boolean" })
    refuse_exempt(given.exempt)
    local made = rule {
        name = "overbook", code = "LIMIT",
        check = function(_, ask)
            if ask.exchange then return true end
            for _, sum in ipairs(added(ask, given.seats and by_category(ask.event) or {})) do
                local area = sum.area
                local most = math.floor(area.capacity * (areas[area.name] or areas.default or 100) / 100)
                local taken = area.held + area.booked
                if sum.count > 0 and given.seats then taken = taken + seats_taken(ask.event, area.category) end
                if sum.count > 0 and taken + sum.count > most then
                    return nil, { seat = area,
                        message = ("%s is sold up to %d places, %s taken"):format(area.name, most, is(taken)),
                        hint = taken < most and ("%d more may be taken"):format(most - taken) or nil,
                    }
                end
            end
            return true
        end,
    }
    made.overbook = true
    return made
end

return M
