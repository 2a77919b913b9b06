--- Places to propose in a refusal. Seats, when nothing near those wanted can be had: one look at the whole
--- house, which a refusal can afford. A large house where near ones fail is looked through from the front.
--- And another area in place of one that is full.
local M = {}

-- Blocks that are judged; percent of the budget behind which nothing is looked for; free seats up to
-- which the nearest are found.
local TRIES, USED_MAX, NEAREST_MAX = 32, 10, 2000
-- Other areas that are judged.
local AREA_TRIES = 8

-- The wanted places by event, in order of appearance, or nil when they are not the same seats of each.
local function by_event(wanted)
    local events, lists = {}, {}
    for _, place in ipairs(wanted) do
        local event = place.event
        if not place.seat then return nil end
        if not lists[event] then
            events[#events + 1], lists[event] = event, {}
        end
        lists[event][#lists[event] + 1] = place.label
    end
    local first, index = lists[events[1]], {}
    for i, label in ipairs(first) do index[label] = i end
    for _, event in ipairs(events) do
        if event.chart ~= events[1].chart or #lists[event] ~= #first then return nil end
        for _, label in ipairs(lists[event]) do
            if not index[label] then return nil end
        end
    end
    return events, index, #first
end

local function asks_seats(tx, event)
    for _, rule in ipairs(tx:settings(event).rules) do
        if rule.seat then return true end
    end
    return false
end

-- May so many find room at all?
local function enough(events, count, leaves)
    for _, event in ipairs(events) do
        if event.counts.free + #leaves < count then return false end
    end
    return true
end

local function special(places)
    for _, place in ipairs(places) do
        local seat = place.seat
        if seat.accessible or seat.companion then return true end
    end
    return false
end

-- The nearest block, where that costs little.
local function order_for(tx, events, seat)
    for _, event in ipairs(events) do
        if event.counts.free > NEAREST_MAX or asks_seats(tx, event) then return nil end
    end
    return { by = "focal", x = seat.x, y = seat.y }
end

--- A seat for each of the places wanted, together, of any category, at one event or the same ones at each of
--- several; nil when there are none. They are not judged for all that the request says: that is left to do.
---@param tx Tx
---@param wanted Place[] numbered ones
---@param ask { customer: string, hold?: integer, order?: Order, leaves?: Place[] }
---@return Seat[]|nil
function M.find(tx, wanted, ask)
    local events, index, count = by_event(wanted)
    local leaves = ask.leaves or {}
    if not events or not enough(events, count, leaves) or tx:used() >= USED_MAX then return nil end
    local best = tx:settings(events[1]).best or {}
    local done, seats = tx:attempt(tx.best, tx, { event = events, customer = ask.customer, count = count,
        hold = ask.hold, order = ask.order, leaves = leaves[1] and leaves, orphans = best.orphans,
        score = order_for(tx, events, wanted[1].seat), tries = TRIES })
    if not done or not seats or (special(seats) and not special(wanted)) then return nil end
    local at, out = {}, {}
    for e, event in ipairs(events) do at[event] = (e - 1) * count end
    for i, place in ipairs(wanted) do out[i] = seats[at[place.event] + index[place.label]] end
    return out
end

-- ---- Areas ---------------------------------------------------------------------

-- The area that is in the way, and how many of it are wanted: the one that the refusal names, of which there
-- may be one at each of several events, or the first with too few places left.
local function in_the_way(gains, label)
    local sums, areas, named = {}, {}, nil
    for _, place in ipairs(gains) do
        local area = place.area
        if area and (not label or area.label == label) then
            if not sums[area] then areas[#areas + 1], sums[area] = area, 0 end
            sums[area] = sums[area] + place.count
        end
    end
    for _, area in ipairs(areas) do
        if area.free < sums[area] then return area, sums[area] end
        named = named or label and area
    end
    return named, named and sums[named]
end

-- The places afterwards, as tx:judge takes them, with the other area for what is new of this one.
local function with_other(request, area, other)
    local out, gained = {}, {}
    for _, place in ipairs(request.gains) do
        if place.area == area then
            local kind = place.type or ""
            gained[kind] = (gained[kind] or 0) + place.count
            out[#out + 1] = { area = other, type = place.type, count = place.count }
        end
    end
    for _, place in ipairs(request.seats) do
        local kept = place.count - (place.area == area and gained[place.type or ""] or 0)
        if kept > 0 then
            out[#out + 1] = { seat = place.seat, area = place.area, type = place.type, count = kept }
        end
    end
    return out
end

-- Those that the request is about already: each is given once for each ticket type.
local function areas_of(request)
    local set = {}
    for _, places in ipairs { request.seats, request.leaves or {} } do
        for _, place in ipairs(places) do
            if place.area then set[place.area] = true end
        end
    end
    return set
end

local function judge(tx, request, seats, rules)
    return tx:judge { verb = request.verb, customer = request.customer, seats = seats, order = request.order,
        hold = request.hold, metadata = request.metadata, price = true, rules = rules }
end

-- What is wanted, with the other area for this one, as words that can be asked for.
local function words_with(request, area, other)
    local out = json.list {}
    for i, place in ipairs(request.gains) do
        local word = place.label
        if place.area then word = ("%s*%d"):format(place.area == area and other.label or word, place.count) end
        if place.type then word = word .. "=" .. place.type end
        out[i] = place.event == request.home and word or place.event.id .. ":" .. word
    end
    return out
end

---@class AreaRequest
---@field verb "take"|"reseat"
---@field customer string
---@field seats Place[] all places after the request
---@field gains Place[] those of them that are new
---@field leaves? Place[]
---@field order? Order
---@field hold? integer ms, of a take that holds
---@field metadata? string
---@field home? Event the event whose places are named without it

--- Words for what is wanted with another area in place of the one that is in the way, or nil: of the same
--- category and at the same price, else of the same category, else any; each time the nearest in the order of
--- the chart. What it names is granted: the rules and the price function are asked.
---@param tx Tx
---@param request AreaRequest
---@param label string|nil what the refusal is about
---@return string[]|nil
function M.area(tx, request, label)
    local area, count = in_the_way(request.gains, label)
    if not area or tx:used() >= USED_MAX then return nil end
    local mine, cost, dearer = areas_of(request), nil, nil
    for _, other in ipairs(tx:near(area, count, AREA_TRIES)) do
        local same = other.category == area.category
        if dearer and not same then break end
        local granted, price
        if not mine[other] then granted, price = judge(tx, request, with_other(request, area, other)) end
        if granted and same and cost == nil then
            local priced, total = judge(tx, request, request.seats, false)
            cost = priced and total or false
        end
        if granted and (not same or price == cost) then return words_with(request, area, other) end
        dearer = dearer or granted and other
    end
    return dearer and words_with(request, area, dearer) or nil
end

return M
