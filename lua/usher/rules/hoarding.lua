--- Anti-hoarding: who lets a hold lapse may not take the same seat again at once.
local common = require "usher.rules.common"
local rule = require("usher.policy").rule

local M = {}

local PAGE = 1000

-- The customer's orders of the event that have changed since then, however many.
local function each_order(tx, ask, since, visit)
    local after
    repeat
        local page = tx:orders { customer = ask.customer, event = ask.event, since = since,
            after = after, limit = PAGE }
        for _, order in ipairs(page) do visit(order) end
        after = page[#page] and page[#page].id
    until #page < PAGE
end

-- What a hold is asked for: the new seats of a take, all of those that are held longer.
local function asked(ask) return ask.verb == "extend" and ask.seats or ask.gains end

--- The customer's lapsed holds of the seats it asks for, by label, latest end first: {from=, to=}
--- in ms.
local function lapses(tx, ask, since)
    local out = {}
    for _, place in ipairs(asked(ask)) do
        if place.seat then out[place.label] = {} end
    end
    if next(out) == nil then return out end
    each_order(tx, ask, since, function(order)
        if order.status ~= "expired" and order.status ~= "released" then return end
        for _, place in ipairs(order.seats) do
            local list = place.seat and place.event == ask.event and out[place.label]
            if list then list[#list + 1] = { from = order.first_held_at, to = order.changed_at } end
        end
    end)
    for _, list in pairs(out) do table.sort(list, function(a, b) return a.to > b.to end) end
    return out
end

--- When this customer first got hold of the seat: back along its holds, as long as none of the
--- pauses between them was as long as the cooldown. nil: it has left the seat alone for that long.
local function since(list, now, cooldown)
    local first
    for _, hold in ipairs(list) do
        if (first or now) - hold.to >= cooldown then return first end
        first = math.min(first or hold.from, hold.from)
    end
    return first
end

--- A customer whose hold of a seat has expired or was released waits for `cooldown` before it
--- takes that seat again. With `lifetime` it may come back at once, but only to hold the seat
--- until that long after it first got it, extended or not; then the cooldown has to pass. Bookings
--- are free.
---
--- What counts are orders that have ended: a hold that ran out or was released, and seats that were
--- released out of a hold. A seat that a hold was moved away from leaves no such record, nor does a
--- hold that was cancelled: where clients may use `move` and `cancel`, they evade this rule.
---@param spec { cooldown: integer|string, lifetime?: integer|string, exempt?: string[] }
---@return Rule
function M.rehold(spec)
    local given = common.read("rehold", spec, { cooldown = "duration", lifetime = "duration" })
    local cooldown, lifetime = given.cooldown, given.lifetime
    if not cooldown then common.misuse(2, "rehold: cooldown is needed") end
    return rule {
        name = "rehold", code = "LIMIT", exempt = given.exempt, on = { "take", "extend" },
        check = function(tx, ask)
            if ask.after == "booked" then return true end
            local got = ask.order and ask.order.first_held_at or tx.now -- an extend: already there
            local lapsed = lapses(tx, ask, math.max(got - cooldown - (lifetime or 0), 0))
            for _, place in ipairs(asked(ask)) do
                local first = place.seat and since(lapsed[place.label], got, cooldown)
                if first and not lifetime then
                    return nil, { seat = place.seat, message = "SEAT was held and given up a moment ago",
                        hint = "take another seat, book it, or wait" }
                elseif first and (ask.expires_at or tx.now) > first + lifetime then
                    return nil, { seat = place.seat, message = "SEAT has been held for long enough",
                        hint = tx.now < first + lifetime
                            and ("at most %d s more: use --ttl"):format((first + lifetime - tx.now) // 1000)
                            or "take another seat, book it, or wait" }
                end
            end
            return true
        end,
    }
end

return M
