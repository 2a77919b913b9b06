--- check-in ORDER: the passengers of a booking get seats of their cabin, together if that can be,
--- from 24 h to 45 min before departure. Who comes when the cabin is full is denied boarding: the
--- order stays as it was, for the desk.
local function seats_of(tx, event, cabin, order)
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

local function check_in(tx, req)
    local order, all = req.order, {}
    if order.status ~= "booked" then
        deny { code = "CONFLICT", message = ("the order is %s, not booked"):format(order.status) }
    end
    for _, place in ipairs(order.seats) do
        local given = place.seat and { place }
            or seats_of(tx, place.event, place, order)
        for _, seat in ipairs(given) do all[#all + 1] = seat end
    end
    return tx:reseat(order, all)
end

return command {
    name = "check-in", group = "orders", kind = "transaction", access = "client",
    summary = "Give the passengers of a booking their seats", example = "check-in 7H2K",
    args = { { "order", "order" } },
    run = check_in,
}
