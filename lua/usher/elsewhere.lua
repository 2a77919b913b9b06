--- Seats to propose when nothing near those wanted can be had: one look at the whole house, which a
--- refusal can afford. A large house where near ones fail is looked through from the front.
local M = {}

-- Blocks that are judged; percent of the budget behind which nothing is looked for; free seats up to
-- which the nearest are found.
local TRIES, USED_MAX, NEAREST_MAX = 32, 10, 2000

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

return M
