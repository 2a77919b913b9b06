--- Blocking seats: for technicians, broken chairs, the house's own use.
local function answer(req, status)
    local seats = json.list {}
    for i, place in ipairs(req.seats) do seats[i] = { event = place.event.id, seat = place.label } end
    return { event = req.event.id, status = status, seats = seats, reason = req.reason }
end

local ARGS = { { "event", "event" }, { "seats", "seat", many = true } }

return {
    command {
        name = "block", group = "events", kind = "transaction", access = "operator",
        summary = "Take free seats out of the sale", example = "block 1 A1 A2 --reason broken",
        args = ARGS,
        options = { { "reason", "string", meta = "T", help = "shown to operators" } },
        run = function(tx, req)
            tx:block(req.seats, req.reason)
            return answer(req, "blocked")
        end,
        again = function(_, req) return answer(req, "blocked") end,
    },
    command {
        name = "unblock", group = "events", kind = "transaction", access = "operator",
        summary = "Put blocked seats back into the sale", example = "unblock 1 A1 A2",
        args = ARGS,
        options = { { "reason", "string", meta = "T", help = "for the log only" } },
        run = function(tx, req)
            tx:unblock(req.seats)
            return answer(req, "free")
        end,
        again = function(_, req) return answer(req, "free") end,
    },
}
