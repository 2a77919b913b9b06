--- Changing orders: move, swap, split.
local shared = require "usher.shared"

--- "FROM TO [FROM TO]...": the seats given up and the seats taken instead, which keep their
--- ticket types.
local function pairs_of(order, seats)
    if #seats % 2 ~= 0 then
        deny { code = "BADARG", message = "seats come in pairs: FROM TO, FROM TO ...",
            hint = "for example: move 7H2K A1 B1 A2 B2" }
    end
    local from, to = {}, {}
    for i = 1, #seats, 2 do
        local a, b = seats[i], seats[i + 1]
        if a.count ~= b.count then
            deny { code = "BADARG", message = ("%s is %d places and %s is %d"):format(a.label, a.count,
                b.label, b.count) }
        end
        from[#from + 1], to[#to + 1] = a, b
    end
    local rest, found = shared.without(order, from)
    local at = 0
    for _, place in ipairs(to) do
        local open = place.count -- one FROM may be places of several ticket types
        while open > 0 do
            at = at + 1
            rest[#rest + 1] = { seat = place.seat, area = place.area, event = place.event,
                count = found[at].count, type = place.type or found[at].type, data = place.data }
            open = open - found[at].count
        end
    end
    return rest
end

local function move(tx, req)
    shared.need_live(req.order)
    return tx:reseat(req.order, pairs_of(req.order, req.seats))
end

local function swap(tx, req)
    if req.order == req.other then
        deny { code = "BADARG", message = "both orders are the same: there is nothing to swap" }
    end
    shared.need_live(req.order)
    shared.need_live(req.other)
    shared.without(req.order, { req.seat })
    shared.without(req.other, { req.other_seat })
    local one, two = tx:swap(req.order, { req.seat }, req.other, { req.other_seat })
    return { orders = json.list { one, two } }
end

local function split(tx, req)
    shared.need_live(req.order)
    local rest, found = shared.without(req.order, req.seats)
    if #rest == 0 then
        deny { code = "BADARG", message = "these are all its seats: nothing would be left in the order" }
    end
    local new = tx:split(req.order, found)
    return { orders = json.list { req.order, new } }
end

local CODE = { "code", "string", many = true, meta = "C", help = "a code that opens a sale" }

return {
    command {
        name = "move", group = "orders", kind = "transaction", access = "client",
        summary = "Move an order from seats to other seats", example = "move 7H2K A1 B1",
        args = { { "order", "order" }, { "seats", "seat", many = true, pairs = true, meta = "FROM TO" } },
        options = { CODE },
        run = move,
    },
    command {
        name = "swap", group = "orders", kind = "transaction", access = "client",
        summary = "Exchange two seats of two orders", example = "swap 7H2K A1 9X3M B1",
        args = { { "order", "order" }, { "seat", "seat" },
            { "other", "order", meta = "ORDER" }, { "other_seat", "seat", meta = "SEAT" } },
        options = { CODE },
        run = swap,
    },
    command {
        name = "split", group = "orders", kind = "transaction", access = "client",
        summary = "Make some seats of an order an order of their own", example = "split 7H2K A2",
        args = { { "order", "order" }, { "seats", "seat", many = true } },
        run = split,
    },
}
