--- What several transaction commands share: refusals in plain words, places of an order,
--- lists that stop at a limit.
local policy = require "usher.policy"
local deny = policy.deny

local M = {}

--- Lists stop here and say how to go on.
M.LIST_MAX = 1000

-- Visits the events of the places; those of one event mostly follow each other.
local function each_event_of(places, visit)
    local last
    for _, place in ipairs(places) do
        local event = place.event
        if event ~= last then visit(event) end
        last = event
    end
end

--- How long a hold of these places lasts when nobody says: the least that one of their events allows.
---@param places Place[]
---@return integer ms
function M.hold_ttl(tx, places)
    local least = math.huge
    each_event_of(places, function(event) least = math.min(least, tx:settings(event).hold_ttl) end)
    return least
end

--- The first event of the order that confirms no expired hold, or nil when all of them do.
---@param order Order
---@return Event|nil
function M.never_late(tx, order)
    local first
    each_event_of(order.seats, function(event)
        if not first and not tx:settings(event).late_confirm then first = event end
    end)
    return first
end

local ENDED = {
    released = "was released", cancelled = "was cancelled", expired = "has expired",
}

--- Refuses an order that has ended.
---@param order Order
function M.need_live(order)
    local ended = ENDED[order.status]
    if ended then
        deny { code = order.status == "expired" and "EXPIRED" or "CONFLICT",
            message = ("the order %s: it holds no seats any more"):format(ended),
            hint = "take the seats again" }
    end
end

--- An order as its answer, with further members: what `run` returns when the order alone
--- would not say enough.
---@param order Order
---@param extra table
---@return table
function M.with(tx, order, extra)
    local null = tx:raw("null")
    local out = {
        order = order.id, status = order.status, customer = order.customer,
        expires_at = order.expires_at or null, seats = json.list(order.seats),
        lines = json.list(order.lines), price = order.price, currency = order.currency or null,
        metadata = order.metadata and tx:raw(order.metadata) or null,
    }
    for key, value in pairs(extra) do out[key] = value end
    return out
end

--- A text of an answer; null when there is none, as C answers of events and orders (src/policy/render.c).
---@param text string
function M.or_null(tx, text) return text ~= "" and text or tx:raw("null") end

--- What tells two places apart: event, seat or area, and ticket type.
local function key_of(place)
    return place.event.id .. ":" .. place.label .. (place.seat and "" or "=" .. (place.type or ""))
end

local function spec_of(place, count)
    return { seat = place.seat, area = place.area, event = place.event, type = place.type,
        count = count or place.count }
end

--- The places of an order without those given. Refuses a place that is not the order's.
---@param order Order
---@param given Place[]
---@return table[] rest as tx:reseat takes them
---@return table[] found the given ones as the order has them (with their ticket types)
function M.without(order, given)
    local left, places, found = {}, order.seats, {}
    for i, place in ipairs(places) do left[i] = place.count end
    for _, want in ipairs(given) do
        local open = want.count
        for i, place in ipairs(places) do
            local same = key_of(place) == key_of(want)
                or (want.type == nil and place.event == want.event and place.label == want.label)
            if same and open > 0 and left[i] > 0 then
                local n = math.min(open, left[i])
                left[i], open = left[i] - n, open - n
                found[#found + 1] = spec_of(place, n)
            end
        end
        if open > 0 then
            deny { code = "NOTFOUND", message = "SEAT is not a seat of this order", seat = want.label,
                hint = "its seats are: " .. M.words(places) }
        end
    end
    local rest = {}
    for i, place in ipairs(places) do
        if left[i] > 0 then rest[#rest + 1] = spec_of(place, left[i]) end
    end
    return rest, found
end

--- Places as a person types them: "A1 A2 FLOOR*3".
---@param places Place[]
---@return string
function M.words(places)
    local out, event = {}, places[1] and places[1].event
    for i, place in ipairs(places) do
        if i > 12 then
            out[i] = ("and %d more"):format(#places - 12)
            break
        end
        local word = place.area and ("%s*%d"):format(place.label, place.count) or place.label
        out[i] = place.event == event and word or place.event.id .. ":" .. word
    end
    return table.concat(out, " ")
end

--- What tx:best, which chooses among numbered seats, has nothing for: the areas where so many may
--- be taken, each as tx:take takes it. Those with free places come first, then those that rules
--- may let exceed their capacity (they say how far when it is tried).
---@param event Event
---@param category string|nil nil: of any
---@param count integer
---@return table[][]
function M.areas_for(event, category, count)
    local free, beyond = {}, {}
    for _, area in ipairs(event:areas()) do
        local list = area.free >= count and free or area.overbook and beyond
        if list and (not category or area.category == category) then
            list[#list + 1] = { { area = area, count = count } }
        end
    end
    for _, seats in ipairs(beyond) do free[#free + 1] = seats end
    return free
end

--- Takes the first of several choices that is granted.
---@param choices table[][] seats, as tx:take takes them
---@param ask table the rest of what tx:take takes
---@return Order|nil
---@return Denial|nil denial what refused the last one
function M.take_first(tx, choices, ask)
    local given, order
    for _, seats in ipairs(choices) do
        ask.seats = seats
        given, order = pcall(tx.take, tx, ask)
        if given then return order end
        if type(order) ~= "table" then error(order, 0) end -- a mistake in a rule
    end
    return nil, order
end

local PAGE = 500

--- Visits every event.
---@param visit fun(event: Event)
function M.each_event(tx, visit)
    local after
    repeat
        local page = tx:events(after, PAGE)
        for _, event in ipairs(page) do visit(event) end
        after = page[#page]
    until #page < PAGE
end

--- Drops the keys that begin with a prefix, as far as half of the transaction's budget goes. Returns
--- whether those were all.
---@param prefix string
---@return boolean
function M.drop_keys(tx, prefix)
    local keys
    repeat
        if tx:used() >= 50 then return false end
        keys = tx:keys(prefix, nil, PAGE)
        for _, key in ipairs(keys) do tx:set(key, nil) end
    until #keys < PAGE
    return true
end

--- A list that was cut ends with how to go on.
---@param list table at most LIST_MAX elements
---@param more boolean
---@param command string what to call next
---@return table
function M.list(list, more, command)
    json.list(list)
    if more then list[#list + 1] = { more = true, next = command } end
    return list
end

--- Text or nothing: JSON arguments keep their bytes, but must be an object.
---@param text string|nil
---@param name string
---@return string|nil
function M.object_text(text, name)
    if text ~= nil and not text:find("^%s*{") then
        deny { code = "BADARG", message = ("--%s is a JSON object, such as {\"a\":1}"):format(name) }
    end
    return text
end

return M
