--- Taking seats: hold, book, best, extend, confirm.
---
--- Hot path: `hold` and `book` go straight to tx:take. Only when that refuses is anything
--- looked up: whether the customer asks again for what is its own already, and which seats
--- nearby would be granted.
local elsewhere = require "usher.elsewhere"
local shared = require "usher.shared"
local pcall = pcall -- a global is looked for behind the chunk's own environment, a local is there

-- Ticket types by seat.
local function tickets_of(places)
    local out = {}
    for _, place in ipairs(places) do out[place.event.id .. ":" .. place.label] = place.type or "" end
    return out
end

--- The one order of this customer that has exactly these places with these tickets, if any.
local function own_order(req)
    local order
    for _, place in ipairs(req.seats) do
        local seat = place.seat
        local on_it = seat and seat.order
        if not on_it or on_it.customer ~= req.customer or (order and on_it ~= order) then return nil end
        order = on_it
    end
    if not order or #order.seats ~= #req.seats then return nil end
    local asked = tickets_of(req.seats)
    for seat, kind in pairs(tickets_of(order.seats)) do
        if asked[seat] ~= kind then return nil end
    end
    return order
end

-- Would a take of these seats instead be granted? Ticket types go with the seats, in their order.
local function granted(tx, req, hold, seats)
    local places = {}
    for k, seat in ipairs(seats) do places[k] = { seat = seat, type = req.seats[k].type } end
    return tx:judge { verb = "take", customer = req.customer, seats = places, hold = hold,
        metadata = req.metadata, price = true }
end

-- The seats as words that can be asked for; `plain`: all are at the event of the request.
local function words_of(req, seats, plain)
    local words = json.list {}
    for k, seat in ipairs(seats) do
        local label, kind = seat.label, req.seats[k].type
        if not plain and seat.event ~= req.event then label = seat.event.id .. ":" .. label end
        words[k] = kind and label .. "=" .. kind or label
    end
    return words
end

--- Words for the nearest seats that would be granted, or nil. At most a few are tried, and the house is
--- looked through once when they will not do: this is a courtesy, not a search.
local function alternative_to(tx, req, hold)
    local first, one = req.seats[1], true
    local event = first.event
    for _, place in ipairs(req.seats) do
        if not place.seat then return nil end
        one = one and place.event == event
    end
    local settings, plain = tx:settings(event), one and event == req.event
    local judged = not one or #settings.rules > 0 or settings.price ~= nil
    for _, seats in ipairs(one and tx:near(first.seat, #req.seats, judged and 6 or 1) or {}) do
        if not judged or granted(tx, req, hold, seats) then return words_of(req, seats, plain) end
    end
    local seats = elsewhere.find(tx, req.seats, { customer = req.customer, hold = hold })
    return seats and (not judged or granted(tx, req, hold, seats)) and words_of(req, seats, plain) or nil
end

-- Completes a denial of what somebody else has, or of an area that is full.
local function offer_instead(tx, req, hold, denial)
    local words, how = denial.alternative or alternative_to(tx, req, hold), "free nearby: "
    if not words then
        words, how = elsewhere.area(tx, { verb = "take", customer = req.customer, seats = req.seats, gains = req.seats,
            hold = hold, metadata = req.metadata, home = req.event }, denial.seat), "possible: "
    end
    denial.alternative = words
    if words then denial.hint = how .. table.concat(words, " ") end
end

--- tx:take said no: a friendlier answer where there is one, else the refusal with more help.
local function refused(tx, req, hold, denial)
    if type(denial) ~= "table" or denial.code ~= "TAKEN" then error(denial, 0) end
    local order = own_order(req)
    if order and order.status == (hold and "held" or "booked") then
        return shared.with(tx, order, { already = true })
    end
    if order then
        denial.hint = order.status == "held"
            and "this customer holds exactly these seats already: confirm that order"
            or "this customer has booked exactly these seats already"
    else
        offer_instead(tx, req, hold, denial)
    end
    error(denial, 0)
end

local function hold(tx, req)
    local ok, order = pcall(tx.take, tx,
        { customer = req.customer, seats = req.seats, hold = req.ttl or true, metadata = req.metadata })
    if ok then return order end
    return refused(tx, req, req.ttl or shared.hold_ttl(tx, req.seats), order)
end

local function book(tx, req)
    local ok, order = pcall(tx.take, tx,
        { customer = req.customer, seats = req.seats, metadata = req.metadata })
    if ok then return order end
    return refused(tx, req, nil, order)
end

-- ---- best ---------------------------------------------------------------------

local function events_of(tx, text)
    local out, seen = {}, {}
    for id in (text .. ","):gmatch("([^,]*),") do
        local event = tx:event(id)
        if not event then deny { code = "NOTFOUND", message = ("there is no event '%s'"):format(id) } end
        if seen[id] then deny { code = "BADARG", message = ("event '%s' is named twice"):format(id) } end
        seen[id] = true
        out[#out + 1] = event
    end
    return out
end

-- How long a hold at all of these lasts when nobody says.
local function least_ttl(tx, events)
    local least = math.huge
    for _, event in ipairs(events) do least = math.min(least, tx:settings(event).hold_ttl) end
    return least
end

-- Nothing was found: with one rule in the way its own denial helps most.
local function refuse_best(req, reason, why)
    local denial = why and why.denial or {}
    deny { code = denial.code or why and "DENIED" or "TAKEN", message = denial.message or reason,
        rule = why and why.rule, policy = denial.policy, seat = denial.seat,
        hint = denial.hint or not denial.seat and denial.otherwise
            or req.split and "ask for fewer, or for another category"
            or "ask for fewer, for another category, or with --split" }
end

local function best(tx, req)
    if req.count < 1 then deny { code = "BADARG", message = "count: at least 1 seat" } end
    if req.book and req.ttl then
        deny { code = "BADARG", message = "--ttl and --book exclude each other",
            hint = "a booking has no end" }
    end
    local events = events_of(tx, req.events)
    local settings = tx:settings(events[1]).best or {}
    local ttl = not req.book and (req.ttl or least_ttl(tx, events)) or nil
    local seats, reason, why = tx:best { event = #events > 1 and events or events[1],
        customer = req.customer, count = req.count, category = req.category, split = req.split, hold = ttl,
        score = settings.score, orphans = settings.orphans }
    local choices = seats and { seats }
        or #events == 1 and shared.areas_for(events[1], req.category, req.count) or {}
    if #choices == 0 then refuse_best(req, reason, why) end
    local order, denial = shared.take_first(tx, choices,
        { customer = req.customer, hold = ttl, metadata = req.metadata })
    if not order and why then refuse_best(req, reason, why) end -- of the seats: those were meant
    return order or error(denial, 0)
end

-- ---- extend and confirm ---------------------------------------------------------

local function extend(tx, req)
    local order = req.order
    shared.need_live(order)
    if order.status == "booked" then
        deny { code = "CONFLICT", message = "the order is booked: there is no hold to extend" }
    end
    local ends_at = tx.now + (req.ttl or shared.hold_ttl(tx, order.seats))
    if ends_at < order.expires_at then return shared.with(tx, order, { already = true }) end
    return tx:extend(order, ends_at)
end

--- A hold that ran out, by expiry or by time alone.
local function lapsed(tx, order)
    return order.status == "expired" or (order.status == "held" and order.expires_at <= tx.now)
end

-- An expired hold is confirmed where every event it is of allows that, as each of them judges it.
local function check_late(tx, order)
    local event = shared.never_late(tx, order)
    if not event then return end
    local all = true
    for _, place in ipairs(order.seats) do all = all and place.event == event end
    deny { code = "EXPIRED", hint = "take them again",
        message = all and "the hold has expired and its seats are given up"
            or ("the hold has expired and its seats are given up: event %s confirms no hold late"):format(event.id) }
end

local function confirm(tx, req)
    local order = req.order
    if order.status == "booked" and not req.metadata then
        return shared.with(tx, order, { already = true })
    elseif order.status == "booked" then
        deny { code = "CONFLICT", message = "the order is booked already" }
    elseif not lapsed(tx, order) then
        shared.need_live(order)
        return tx:confirm(order, { metadata = req.metadata })
    end
    check_late(tx, order)
    return tx:take { late = order, metadata = req.metadata }
end

local CODE = { "code", "string", many = true, meta = "C", help = "a code that opens a sale" }
local METADATA = { "metadata", "json", help = "a note kept with the order, given back byte for byte" }
local TTL = { "ttl", "duration", help = "how long the hold lasts, else as the policy says" }

local function object_metadata(run)
    return function(tx, req)
        if req.metadata then shared.object_text(req.metadata, "metadata") end
        return run(tx, req)
    end
end

return {
    command {
        name = "hold", group = "orders", kind = "transaction", access = "client",
        summary = "Hold seats for a customer, for a while", example = "hold 1 ann A1 A2 --ttl 10m",
        args = { { "event", "event" }, { "customer", "customer" },
            { "seats", "seat", many = true, help = "such as A1, A1..A8, FLOOR*3, A1=child" } },
        options = { TTL, CODE, METADATA },
        run = object_metadata(hold),
    },
    command {
        name = "book", group = "orders", kind = "transaction", access = "client",
        summary = "Book seats at once", example = "book 1 ann A1 A2",
        args = { { "event", "event" }, { "customer", "customer" },
            { "seats", "seat", many = true, help = "such as A1, A1..A8, FLOOR*3, A1=child" } },
        options = { CODE, METADATA },
        run = object_metadata(book),
    },
    command {
        name = "best", group = "orders", kind = "transaction", access = "client",
        summary = "Hold or book the best seats that are free", example = "best 1 ann 4 --category stalls",
        args = { { "events", "string", meta = "EVENT[,EVENT...]", help = "the same seats on all of them" },
            { "customer", "customer" }, { "count", "int" } },
        options = { { "category", "category", meta = "C" }, TTL,
            { "book", "bool", help = "book at once" },
            { "split", "bool", help = "in parts, if there is no room for all together" }, CODE, METADATA },
        run = object_metadata(best),
    },
    command {
        name = "extend", group = "orders", kind = "transaction", access = "client",
        summary = "Give a hold more time, from now", example = "extend 7H2K --ttl 5m",
        args = { { "order", "order" } },
        options = { TTL },
        run = extend,
    },
    command {
        name = "confirm", group = "orders", kind = "transaction", access = "client",
        summary = "Turn a hold into a booking", example = "confirm 7H2K",
        args = { { "order", "order" } },
        options = { CODE, METADATA }, -- a late confirm is judged as a take
        run = object_metadata(confirm),
    },
}
