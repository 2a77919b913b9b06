--- Waiting lists: wait, waits, unwait. How seats are given is told in usher/waiting.lua.
local shared = require "usher.shared"
local waiting = require "usher.waiting"

local function shown(event, wait, place)
    return { event = event.id, customer = wait.customer, count = wait.count, category = wait.category,
        place = place, since = wait.at }
end

local function check(req)
    if req.count < 1 then deny { code = "BADARG", message = "count: at least 1 seat" } end
    local places = req.event.seats_total
    for _, area in ipairs(req.event:areas()) do places = places + area.capacity end
    if req.count > places then -- that wait would never end
        deny { code = "BADARG", message = ("event %s has %d places in all"):format(req.event.id, places) }
    end
    if not req.category then return end
    for _, name in ipairs(req.event:categories()) do
        if name == req.category then return end
    end
    deny { code = "NOTFOUND", message = ("event %s has no category '%s'"):format(req.event.id, req.category),
        hint = "it has " .. table.concat(req.event:categories(), ", ") }
end

--- Where a wait that is asked for again has come to: its place, the order it was served with, or nothing.
local function wait_again(tx, req)
    local one, place = waiting.find(tx, req.event, req.customer)
    if one then return shown(req.event, one, place) end
    local out = { event = req.event.id, customer = req.customer, waiting = false }
    local order = waiting.served_with(tx, req.event, req.customer)
    return order and shared.with(tx, order, out) or out
end

-- May this customer join the line? Judged as an offer will be, with the codes that came along and by
-- nobody at the counter, so that who could never be served is told now.
local function judge(tx, req)
    tx:with_codes(req.code or {}, tx.now)
    local granted, denial = tx:judge { verb = "wait", event = req.event, customer = req.customer,
        count = req.count, trace = true }
    tx:with_codes(nil)
    if not granted then error(denial, 0) end
end

--- Joins the line, if the rules on "wait" grant it; who fits at once (and nobody in front does) gets the
--- seats at once. Who has an offer of this line has had its turn.
local function wait(tx, req)
    check(req)
    if req.event.status ~= "open" then
        deny { code = "CONFLICT", message = ("event %s is closed"):format(req.event.id) }
    end
    local there, place = waiting.find(tx, req.event, req.customer)
    if there then
        if there.count == req.count and there.category == req.category then
            local out = shown(req.event, there, place)
            out.already = true
            return out
        end
        deny { code = "CONFLICT", message = "this customer waits already, for other seats",
            hint = ("unwait %s %s"):format(req.event.id, req.customer) }
    end
    local offer = waiting.served_with(tx, req.event, req.customer)
    if offer and offer.status == "held" and offer.expires_at > tx.now then
        return shared.with(tx, offer, { already = true })
    end
    judge(tx, req)
    local mine = waiting.join(tx, req.event, req.customer, req.count, req.category, req.code)
    local made = waiting.serve(tx, req.event)
    if made[mine.key] then return made[mine.key] end
    return shown(req.event, mine, waiting.place(tx, req.event, mine))
end

local function waits(tx, req)
    if req.customer then
        local one, place = waiting.find(tx, req.event, req.customer)
        return one and json.list { shown(req.event, one, place) } or json.list {}
    end
    local before = req.after or 0
    if before < 0 then deny { code = "BADARG", message = "--after is a place in line" } end
    local list = waiting.list(tx, req.event, waiting.key_at(tx, req.event, before), shared.LIST_MAX)
    local more = #list == shared.LIST_MAX and #waiting.list(tx, req.event, list[#list].key, 1) > 0
    local last = before + #list
    for i, one in ipairs(list) do list[i] = shown(req.event, one, before + i) end
    return shared.list(list, more, more and ("waits %s --after %d"):format(req.event.id, last))
end

local function unwait(tx, req)
    local one = waiting.find(tx, req.event, req.customer)
    if not one then
        deny { code = "NOTFOUND", message = "this customer does not wait for seats of the event" }
    end
    waiting.leave(tx, one)
    return { event = req.event.id, customer = req.customer, waiting = false }
end

return {
    command {
        name = "wait", group = "orders", kind = "transaction", access = "client",
        summary = "Wait for seats: the first in line who fits gets a hold when some come free",
        example = "wait 1 ann 2 --category stalls",
        args = { { "event", "event" }, { "customer", "customer" }, { "count", "int" } },
        options = { { "category", "category", meta = "C" },
            { "code", "string", many = true, meta = "C", help = "a code that opens a sale" } },
        run = wait,
        again = wait_again,
    },
    command {
        name = "waits", group = "orders", kind = "transaction", access = "operator", read = "local",
        summary = "List who waits for seats of an event, first in line first", example = "waits 1",
        args = { { "event", "event" } },
        options = { { "customer", "customer", meta = "C", help = "only this one" },
            { "after", "int", meta = "N", help = "go on behind this place in line" } },
        run = waits,
    },
    command {
        name = "unwait", group = "orders", kind = "transaction", access = "client",
        summary = "Leave the waiting list of an event", example = "unwait 1 ann",
        args = { { "event", "event" }, { "customer", "customer" } },
        run = unwait,
    },
}
