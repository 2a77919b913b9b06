--- Events: what is sold, in which house, and whether it is open.
local plan = require "usher.plan"
local queue = require "usher.queue"
local shared = require "usher.shared"
local waiting = require "usher.waiting"

--- CHART|ROWS-JSON: JSON begins with a bracket, which no id does.
local function chart_for(tx, req)
    if not req.chart:find("^%s*[%[{]") then
        if not tx:chart(req.chart) then
            deny { code = "NOTFOUND", message = ("there is no chart '%s'"):format(req.chart),
                hint = "add it with add-chart, or give the rows as JSON" }
        end
        return req.chart
    end
    local source, message = json.decode(req.chart)
    if source == nil then deny { code = "BADARG", message = "chart: " .. (message or "null") } end
    local id, n = req.id, 1
    while tx:chart(id) do -- an earlier event of that name left its chart behind
        n = n + 1
        id = ("%s-%d"):format(req.id, n)
    end
    tx:chart_put(id, plan.read(source))
    return id
end

local function add_event(tx, req)
    if tx:event(req.id) then
        deny { code = "CONFLICT", message = ("there is an event '%s' already"):format(req.id),
            hint = "change it with set-event" }
    end
    return tx:event_put {
        id = req.id, chart = chart_for(tx, req), open = true,
        attributes = shared.object_text(req.attributes, "attributes"),
        ruleset = req.rules, currency = req.currency,
    }
end

local function set_event(tx, req)
    if not (req.attributes or req.rules or req.chart) then
        deny { code = "BADARG", message = "nothing to set",
            hint = "give --attributes, --rules or --chart" }
    end
    tx:event_set(req.event, {
        attributes = shared.object_text(req.attributes, "attributes"),
        ruleset = req.rules, chart = req.chart,
    })
    return req.event
end

local function set_open(open)
    return function(tx, req)
        if (req.event.status == "open") ~= open then tx:event_set(req.event, { open = open }) end
        return req.event
    end
end

--- Ends what lives at this event; orders over several events keep their other seats.
local function cancel_orders(tx, event)
    local ended = 0
    while true do
        local orders = tx:orders { event = event, status = "live" }
        for _, order in ipairs(orders) do
            local here = {}
            for _, place in ipairs(order.seats) do
                if place.event == event then here[#here + 1] = place end
            end
            tx:finish(order, "cancelled", #here < #order.seats and here or nil)
            ended = ended + 1
        end
        if #orders == 0 then return ended end
    end
end

--- Lines of people that are longer than a transaction can drop go in parts: the event is closed then,
--- and the answer says how to go on.
local function remove_event(tx, req)
    local id, ended = req.event.id, 0
    if req.cancel_orders then
        ended = cancel_orders(tx, req.event)
    else
        local live = #tx:orders { event = req.event, status = "live" }
        if live > 0 then
            deny { code = "CONFLICT",
                message = ("event '%s' has %s%d live orders"):format(id,
                    live == shared.LIST_MAX and "at least " or "", live),
                hint = "close-event stops the sale; --cancel-orders ends them all" }
        end
    end
    if not (waiting.clear(tx, req.event) and queue.clear(tx, req.event)) then
        if req.event.status == "open" then tx:event_set(req.event, { open = false }) end
        return { event = id, removed = false, cancelled = ended, next = "remove-event " .. id }
    end
    tx:event_remove(req.event)
    return { event = id, removed = true, cancelled = ended }
end

local function events(tx, req)
    local list = tx:events(req.after, shared.LIST_MAX)
    local last = list[#list]
    local more = #list == shared.LIST_MAX and #tx:events(last.id, 1) > 0
    return shared.list(list, more, more and "events --after " .. last.id)
end

local function event(tx, req)
    local ev, areas, sum = req.event, json.list {}, { free = 0, held = 0, booked = 0 }
    local attributes = ev.attributes_text ~= "" and ev.attributes_text or "{}"
    for i, area in ipairs(ev:areas()) do
        areas[i] = { area = area.label, category = area.category, capacity = area.capacity,
            held = area.held, booked = area.booked, free = area.free }
        sum.free = sum.free + math.max(area.free, 0)
        sum.held, sum.booked = sum.held + area.held, sum.booked + area.booked
    end
    return {
        event = ev.id, status = ev.status, attributes = tx:raw(attributes), counts = ev.counts,
        chart = ev.chart, ruleset = shared.or_null(tx, ev.ruleset),
        currency = shared.or_null(tx, ev.currency), seats = ev.seats_total,
        categories = json.list(ev:categories()), areas = areas,
        area_counts = #areas > 0 and sum or nil,
    }
end

local ATTRIBUTES = { "attributes", "json", help = "a JSON object, given back byte for byte" }

--- Labels of what one customer has of an event, as JSON; whose seats are whose is for operators.
local function own_seats(tx, req)
    if not req.customer then return nil end
    if tx.user.access ~= "operator" and tx.user.access ~= "admin" then
        deny { code = "NOPERM", message = "only an operator sees which seats a customer has",
            hint = "leave out --customer" }
    end
    local labels = json.list {}
    for _, order in ipairs(tx:orders { customer = req.customer, event = req.event, status = "live" }) do
        for _, place in ipairs(order.seats) do
            if place.event == req.event and place.seat then labels[#labels + 1] = place.label end
        end
    end
    return json.encode(labels)
end

return {
    command {
        name = "add-event", group = "events", kind = "transaction", access = "operator",
        summary = "Add an event and open it for sale",
        example = "add-event 1 hall --attributes '{\"title\":\"Dune\"}'",
        args = {
            { "id", "string", help = "the new event's id" },
            { "chart", "string", meta = "CHART|ROWS-JSON",
                help = "a chart's id, or the plan itself as add-chart takes it" },
        },
        options = {
            ATTRIBUTES,
            { "rules", "string", meta = "R", help = "a ruleset of the policy" },
            { "currency", "string", meta = "C", help = "ISO 4217, else that of the first order" },
        },
        run = add_event,
        again = function(tx, req) return tx:event(req.id) end,
    },
    command {
        name = "set-event", group = "events", kind = "transaction", access = "operator",
        summary = "Change an event's attributes, rules or chart",
        example = "set-event 1 --rules matinee",
        args = { { "event", "event" } },
        options = {
            ATTRIBUTES,
            { "rules", "string", meta = "R", help = "a ruleset of the policy; \"\" for the policy's own rules" },
            { "chart", "chart", meta = "C", help = "a chart that holds every taken seat" },
        },
        run = set_event,
        again = function(_, req) return req.event end,
    },
    command {
        name = "open-event", group = "events", kind = "transaction", access = "operator",
        summary = "Open an event for sale", example = "open-event 1",
        args = { { "event", "event" } },
        run = set_open(true),
        again = function(_, req) return req.event end,
    },
    command {
        name = "close-event", group = "events", kind = "transaction", access = "operator",
        summary = "Stop the sale: nothing new is taken, holds may still be confirmed",
        example = "close-event 1",
        args = { { "event", "event" } },
        run = set_open(false),
        again = function(_, req) return req.event end,
    },
    command {
        name = "remove-event", group = "events", kind = "transaction", access = "operator",
        summary = "Remove an event that has no live orders", example = "remove-event 1",
        args = { { "event", "event" } },
        options = { { "cancel-orders", "bool", help = "cancel what is held and booked first" } },
        run = remove_event,
    },
    command {
        name = "events", group = "events", kind = "transaction", access = "public", read = "local",
        summary = "List the events", example = "events",
        options = { { "after", "string", meta = "EVENT", help = "go on behind this one" } },
        run = events,
    },
    command {
        name = "event", group = "events", kind = "transaction", access = "public", read = "local",
        summary = "Show one event", example = "event 1",
        args = { { "event", "event" } },
        run = event,
    },
    command {
        name = "seats", group = "events", kind = "transaction", access = "public", read = "local",
        summary = "Show which seats of an event are taken", example = "seats 1 --full",
        args = { { "event", "event" } },
        options = {
            { "full", "bool", help = "every seat, row by row" },
            { "customer", "customer", meta = "C", help = "mark what this customer has (operators)" },
        },
        run = function(tx, req) return tx:seats_view(req.event, req.full or false, own_seats(tx, req)) end,
    },
}
