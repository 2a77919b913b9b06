--- check-in ORDER: the passengers of a booking get seats of their cabin, together if that can be,
--- from 24 h to 45 min before departure. Who comes when the cabin is full is denied boarding: the
--- order stays as it was, for the desk.
local function seats_of(tx, cabin, order)
    local event = cabin.event
    local seats, why = tx:best { event = event, customer = order.customer, count = cabin.count,
        category = cabin.category, split = true, leaves = order.seats }
    if seats then return seats end
    seats = {}
    for _, run in ipairs(event:runs { category = cabin.category }) do
        for _, seat in ipairs(run) do
            if #seats < cabin.count then seats[#seats + 1] = seat end
        end
    end
    if #seats == cabin.count then return seats end
    deny { code = "TAKEN", message = ("%s is full"):format(cabin.label), hint = why,
        rule = "denied-boarding" }
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
    local cabins = cabins_of(order)
    for _, place in ipairs(order.seats) do
        if place.seat then
            all[#all + 1] = place
        else
            local key = key_of(place)
            free[key] = free[key] or seats_of(tx, cabins[key], order)
            for _ = 1, place.count do
                all[#all + 1] = { seat = table.remove(free[key], 1), type = place.type }
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
