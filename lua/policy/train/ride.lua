--- ride TRAIN FROM TO CUSTOMER COUNT: seats from stop to stop (numbers from 1); leg 1 of train ICE7
--- is the event ICE7-1. Among free seats it takes those whose neighbouring legs are sold, so that
--- long journeys find whole seats later.
local scores = require "usher.scores"

local function ride(tx, req)
    if req.from < 1 or req.to <= req.from then
        deny { code = "BADARG", message = "a journey goes from a stop to a later one" }
    end
    local legs = {}
    for leg = req.from, req.to - 1 do
        legs[#legs + 1] = tx:event(("%s-%d"):format(req.train, leg))
            or deny { code = "NOTFOUND", message = ("train %s has no leg %d"):format(req.train, leg) }
    end
    local ttl = tx:settings(legs[1]).hold_ttl
    local seats, why = tx:best { event = legs, customer = req.customer, count = req.count, hold = ttl,
        category = req.category, score = scores.stretch(tx:event(("%s-%d"):format(req.train, req.from - 1)),
            tx:event(("%s-%d"):format(req.train, req.to))) }
    if not seats then
        deny { code = "TAKEN", message = "no seats for the whole journey: " .. why,
            hint = "ride in two parts, or fewer together" }
    end
    return tx:take { customer = req.customer, seats = seats, hold = ttl }
end

return command {
    name = "ride", group = "orders", kind = "transaction", access = "client",
    summary = "Hold the same seats on every leg of a journey", example = "ride ICE7 1 4 ann 2",
    args = { { "train", "string" }, { "from", "int" }, { "to", "int" }, { "customer", "customer" },
        { "count", "int", default = 1 } },
    options = { { "category", "string" }, { "code", "string", many = true, meta = "C",
        help = "a code that opens a sale" } },
    run = ride,
}
