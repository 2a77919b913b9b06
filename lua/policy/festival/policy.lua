-- A festival: areas with a capacity, day tickets and camping; who camps has a ticket for the field.
local rules = require "usher.rules"

-- How many camping places there are beyond the tickets for the field.
local function missing(places, event)
    local n = 0
    for _, place in ipairs(places) do
        if place.event == event and place.category == "camp" then n = n + place.count end
        if place.event == event and place.category == "field" then n = n - place.count end
    end
    return n
end

-- What is booked needs tickets that are booked: those that are only held may be given back.
local function count(tx, ask, category)
    local held, booked = tx:count(ask.event, ask.customer, category)
    return ask.after == "booked" and booked or held + booked
end

-- Nobody gets a tent beyond the tickets, over all the orders of a customer. Who has given a ticket
-- back may still take others, and book what needs none.
local camp_with_ticket = rule {
    name = "camp-with-ticket", on = { "take", "reseat", "confirm" },
    check = function(tx, ask)
        local wants = missing(ask.seats, ask.event)
        local has = ask.verb == "reseat" and missing(ask.order.seats, ask.event) or 0
        local all = count(tx, ask, "camp") - count(tx, ask, "field") - has + wants
        if all <= 0 or wants <= has then return true end
        return nil, { message = ("camping places without a ticket for the field: %d"):format(all),
            hint = "book FIELD tickets, too" }
    end,
}

return policy {
    name = "festival",
    hold_ttl = "20m", hold_max = "40m", wait_ttl = "40m",
    rules = {
        rules.max_per_customer(10),
        rules.occupancy { percent = 95 }, -- the fire brigade wants room to move
        camp_with_ticket,
    },
    price = rules.price_zones { field = { 8900, day = 3900, child = 0 }, camp = 2500 },
}
