--- Looking at orders, explaining them, forgetting people.
local queue = require "usher.queue"
local shared = require "usher.shared"
local waiting = require "usher.waiting"

local function limit_of(req)
    if req.limit and (req.limit < 1 or req.limit > shared.LIST_MAX) then
        deny { code = "BADARG", message = ("--limit is 1 to %d"):format(shared.LIST_MAX) }
    end
    return req.limit or shared.LIST_MAX
end

local function next_command(req, last)
    local words = { "orders" }
    local function add(name, value)
        if value then words[#words + 1] = ("--%s %s"):format(name, value) end
    end
    add("customer", req.customer)
    add("event", req.event and req.event.id)
    add("status", req.status)
    add("since", req.since)
    add("limit", req.limit)
    add("after", last)
    return table.concat(words, " ")
end

local function orders(tx, req)
    local filter = { customer = req.customer, event = req.event, status = req.status,
        since = req.since, after = req.after, limit = limit_of(req) }
    local list = tx:orders(filter)
    local more = false
    if #list == shared.LIST_MAX then
        filter.after, filter.limit = list[#list].id, 1
        more = #tx:orders(filter) > 0
    end
    return shared.list(list, more, more and next_command(req, filter.after))
end

local function names_of(rules)
    local out = json.list {}
    for i, rule in ipairs(rules or {}) do out[i] = rule.name end
    return out
end

-- What holds at an event now. A policy that lacks its ruleset may be active, from before a deploy asked:
-- who looks into that needs an answer.
local function rules_of(tx, event)
    local out = { event = event.id, ruleset = shared.or_null(tx, event.ruleset) }
    if event.ruleset ~= "" and not tx:rulesets()[event.ruleset] then
        out.missing = true
        return out
    end
    local settings = tx:settings(event)
    out.rules = names_of(settings.rules)
    out.hold_ttl_ms, out.hold_max_ms = settings.hold_ttl, settings.hold_max
    out.wait_ttl_ms = settings.wait_ttl
    return out
end

-- The version that was active at a time, nil when it is not known any more.
local function version_at(tx, time)
    for version = tx.policy.version, 1, -1 do
        local record = tx:policy_record(version)
        if not record then return nil end
        if record.time <= time then return version end
    end
    return 0
end

--- Which policy granted an order its seats, which judged its last change (a confirm keeps the seats), at
--- which entry of the log, and the rules of today.
local function explain(tx, req)
    local order = req.order
    local version = order.policy
    local record = version and version > 0 and tx:policy_record(version) or nil
    local events, seen = json.list {}, {}
    for _, place in ipairs(order.seats) do
        local event = place.event
        if not seen[event.id] then
            seen[event.id] = true
            events[#events + 1] = rules_of(tx, event)
        end
    end
    return {
        order = order.id, status = order.status, price = order.price, currency = order.currency,
        judged = not order.unjudged,
        policy = { version = version, time = record and record.time, author = record and record.author,
            sha256 = record and record.sha256 },
        first_held_at = order.first_held_at, changed_at = order.changed_at,
        changed_index = order.index, changed_policy = version_at(tx, order.changed_at),
        current_policy = tx.policy.version, current_rules = events,
    }
end

local DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"

local function forget(tx, req)
    local name = {}
    for i = 1, 20 do
        local at = tx:random(1, #DIGITS)
        name[i] = DIGITS:sub(at, at)
    end
    local replacement = "forgotten-" .. table.concat(name)
    local waited, queued = waiting.forget(tx, req.customer), queue.forget(tx, req.customer)
    if #tx:orders { customer = req.customer, limit = 1 } > 0 then
        tx:forget(req.customer, replacement)
    elseif not (waited or queued) then
        deny { code = "NOTFOUND", message = "no order is known of this customer, nor a place in a line" }
    end
    return { forgotten = true, customer = replacement }
end

return {
    command {
        name = "order", group = "orders", kind = "transaction", access = "client",
        read = "linearizable", summary = "Show one order", example = "order 7H2K",
        args = { { "order", "order" } },
        run = function(_, req) return req.order end,
    },
    command {
        name = "orders", group = "orders", kind = "transaction", access = "operator", read = "local",
        summary = "List orders, oldest first", example = "orders --customer ann --status live",
        options = {
            { "customer", "customer", meta = "C" },
            { "event", "event", meta = "E" },
            { "status", { "live", "held", "booked", "released", "cancelled", "expired" }, meta = "S" },
            { "since", "time", meta = "T", help = "changed at this time or later" },
            { "limit", "int", help = "at most so many, up to 1000" },
            { "after", "string", meta = "ORDER", help = "go on behind this one" },
        },
        run = orders,
    },
    command {
        name = "explain", group = "orders", kind = "transaction", access = "client",
        read = "linearizable", summary = "Tell which policy and rules granted an order",
        example = "explain 7H2K",
        args = { { "order", "order" } },
        run = explain,
    },
    command {
        name = "forget", group = "orders", kind = "transaction", access = "operator",
        summary = "Replace a customer's id everywhere and drop the notes kept with the orders",
        example = "forget ann",
        args = { { "customer", "customer" } },
        run = forget,
    },
}
