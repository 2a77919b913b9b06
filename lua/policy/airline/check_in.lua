--- check-in ORDER: the passengers of a booking get seats of their cabin, together if that can be,
--- from 24 h to 45 min before departure (the end is the sale's: see the window in policy.lua). Who
--- comes when the cabin is full is denied boarding: the order stays as it was, for the desk.
local start_of = require("usher.rules.common").start_of

local OPENS_MS = 24 * 60 * 60 * 1000 -- before departure

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

local function check_in(tx, req)
    local order, all, free = req.order, {}, {}
    if order.status ~= "booked" then
        deny { code = "CONFLICT", message = ("the order is %s, not booked"):format(order.status) }
    end
    for key, cabin in pairs(cabins_of(order)) do
        if tx.now < start_of(cabin.event) - OPENS_MS then
            deny { message = ("check-in for %s opens 24 h before departure"):format(cabin.event.id),
                hint = "come back then" }
        end
        free[key] = seats_of(cabin)
    end
    for _, place in ipairs(order.seats) do
        if place.seat then
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
