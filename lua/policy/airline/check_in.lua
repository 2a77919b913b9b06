--- check-in ORDER: the passengers of a booking get seats of their cabin, together if that can be,
--- from 24 h to 45 min before departure; of an order of several flights, on those that are open then.
--- Who comes when the cabin is full is denied boarding: the order stays as it was, for the desk.
local start_of = require("usher.rules.common").start_of

-- Before departure; it closes with the sale: see the window in policy.lua.
local OPENS_MS, CLOSES_MS = 24 * 60 * 60 * 1000, 45 * 60 * 1000

local function seats_of(cabin)
    local runs = cabin.event:runs { category = cabin.category, min = cabin.count }
    if #runs == 0 then runs = cabin.event:runs { category = cabin.category } end
    local seats = {}
    for _, run in ipairs(runs) do
        for _, seat in ipairs(run) do
            if #seats < cabin.count then seats[#seats + 1] = seat end
        end
    end
    if #seats == cabin.count then return seats end
    deny { code = "TAKEN", message = ("%s is full"):format(cabin.label), rule = "denied-boarding",
        hint = "the desk finds another flight or cabin" }
end

local function key_of(place) return place.event.id .. ":" .. place.category end

--- The places without a number, summed up by cabin: a cabin is asked for once, however many
--- ticket types the passengers have.
local function cabins_of(order)
    local cabins = {}
    for _, place in ipairs(order.seats) do
        if place.area then
            local key = key_of(place)
            local cabin = cabins[key] or { event = place.event, category = place.category,
                label = place.label, count = 0 }
            cabin.count = cabin.count + place.count
            cabins[key] = cabin
        end
    end
    return cabins
end

local function is_open(tx, event)
    local left = start_of(event) - tx.now
    return left <= OPENS_MS and left > CLOSES_MS
end

--- Seats for the cabins whose check-in is open, by cabin.
local function seats_for(tx, order)
    local free, any = {}, false
    for key, cabin in pairs(cabins_of(order)) do
        any = true
        if is_open(tx, cabin.event) then free[key] = seats_of(cabin) end
    end
    if any and next(free) == nil then
        deny { message = "check-in is from 24 h before departure to 45 min before it", hint = "come back then" }
    end
    return free
end

local function check_in(tx, req)
    local order, all = req.order, {}
    if order.status ~= "booked" then
        deny { code = "CONFLICT", message = ("the order is %s, not booked"):format(order.status) }
    end
    local free = seats_for(tx, order)
    for _, place in ipairs(order.seats) do
        if not (place.area and free[key_of(place)]) then
            all[#all + 1] = place
        else
            for _ = 1, place.count do
                all[#all + 1] = { seat = table.remove(free[key_of(place)], 1), type = place.type }
            end
        end
    end
    return tx:reseat(order, all)
end

return command {
    name = "check-in", group = "orders", kind = "transaction", access = "client",
    summary = "Give the passengers of a booking their seats", example = "check-in 7H2K",
    args = { { "order", "order" } },
    run = check_in,
}
