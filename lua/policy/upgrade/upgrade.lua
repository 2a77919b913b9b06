--- Moves a booked order to the best seats of a better category, side by side, and prices it anew.

--- The order's event, and the ticket type of each of its places (false: none).
local function tickets_of(order)
    local event, types = nil, {}
    for _, place in ipairs(order.seats) do
        if event and place.event ~= event then
            deny { code = "BADARG", message = "the order is of several events; upgrade knows one" }
        end
        event = place.event
        for _ = 1, place.count do types[#types + 1] = place.type or false end
    end
    return event, types
end

return command {
    name = "upgrade", group = "orders", kind = "transaction", access = "client",
    summary = "Move a booked order to a better category", example = "upgrade 7H2K stalls",
    args = { { "order", "order" }, { "category", "category" } },
    options = { note = { "string", help = "kept with the order" } },
    run = function(tx, req)
        local order = req.order
        if order.status ~= "booked" then
            deny { code = "CONFLICT",
                message = ("the order is %s; only a booked one can be upgraded"):format(order.status) }
        end
        local event, types = tickets_of(order)
        local seats, why = tx:best { event = event, customer = order.customer, count = #types,
            category = req.category, order = order, leaves = order.seats }
        if not seats then
            deny { code = "TAKEN",
                message = ("no %d seats of %s: %s"):format(#types, req.category, why or "taken") }
        end
        local before = order.price
        for i, seat in ipairs(seats) do seats[i] = { seat = seat, type = types[i] or nil } end
        order = tx:reseat(order, seats)
        if order.price < before then
            deny { code = "DENIED", message = ("%s costs less than what the order has"):format(req.category) }
        end
        if req.note then order = tx:amend(order, { metadata = json.encode { note = req.note } }) end
        tx:emit("upgraded", { order = order.id, category = req.category, paid = before, price = order.price })
        return order
    end,
}
