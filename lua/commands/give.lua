--- Giving seats back: release, cancel, cancel-seat.
local shared = require "usher.shared"

--- Some of an order's places, or nil for the whole of it.
local function some(order, seats)
    if #seats == 0 then return nil end
    local rest, found = shared.without(order, seats)
    return #rest > 0 and found or nil
end

-- Releases some places of a hold. The seats end in an order of their own: what has ended is all that
-- tells later who held a seat and for how long (rules.rehold), and one that merely left a hold
-- would be as if it had never been in it.
local function release_some(tx, order, places)
    local seats, heads = {}, {}
    for _, place in ipairs(places) do
        local list = place.seat and seats or heads
        list[#list + 1] = place
    end
    if #heads > 0 then tx:finish(order, "released", heads) end
    if #seats > 0 then tx:finish(tx:split(order, seats), "released") end
    return order
end

local function finish(tx, order, how, seats)
    if order.status == how and #seats == 0 then return shared.with(tx, order, { already = true }) end
    shared.need_live(order)
    if how == "released" and order.status == "booked" then
        deny { code = "CONFLICT", message = "the order is booked: a release is for holds",
            hint = "cancel it" }
    end
    local part = some(order, seats)
    if part and how == "released" then return release_some(tx, order, part) end
    return tx:finish(order, how, part)
end

local LEVELS = { public = 1, client = 2, operator = 3, admin = 4 }

--- Whoever may not see other people's orders must say whose seat it is.
local function cancel_seat(tx, req)
    local seat, customer = req.seat.seat, req.customer
    if not seat then
        deny { code = "BADARG", message = "places of an area have no order of their own",
            hint = "cancel by order: cancel ORDER " .. req.seat.label .. "*1" }
    end
    if not customer and LEVELS[tx.user.access] < LEVELS.operator then
        deny { code = "NOPERM", message = "only an operator cancels any seat",
            hint = "say whose it is with --customer" }
    end
    local order = seat.order
    if not order then
        deny { code = "CONFLICT", message = ("SEAT is %s: there is nothing to cancel"):format(seat.status),
            seat = seat }
    elseif customer and order.customer ~= customer then
        deny { code = "NOPERM", message = "SEAT is not this customer's", seat = seat }
    end
    if order.status == "held" and #order.seats > 1 then return release_some(tx, order, { seat }) end
    return tx:finish(order, order.status == "held" and "released" or "cancelled",
        #order.seats > 1 and { seat } or nil)
end

local SEATS = { "seats", "seat", many = true, optional = true, help = "only these; else all" }

return {
    command {
        name = "release", group = "orders", kind = "transaction", access = "client",
        summary = "Give a hold back, or some of its seats", example = "release 7H2K",
        args = { { "order", "order" }, SEATS },
        run = function(tx, req) return finish(tx, req.order, "released", req.seats) end,
    },
    command {
        name = "cancel", group = "orders", kind = "transaction", access = "client",
        summary = "Cancel an order, held or booked, or some of its seats", example = "cancel 7H2K A2",
        args = { { "order", "order" }, SEATS },
        run = function(tx, req) return finish(tx, req.order, "cancelled", req.seats) end,
    },
    command {
        name = "cancel-seat", group = "orders", kind = "transaction", access = "client",
        summary = "Cancel whatever is on a seat", example = "cancel-seat 1 A1 --customer ann",
        args = { { "event", "event" }, { "seat", "seat" } },
        options = { { "customer", "customer", meta = "C", help = "only if it is theirs" } },
        run = cancel_seat,
    },
}
