-- A festival: areas with a capacity, day tickets and camping; who camps has a ticket for the field.
local rules = require "usher.rules"

-- Camping places of an order, and of what the customer has already, need a field ticket each.
local camp_with_ticket = rule {
    name = "camp-with-ticket",
    check = function(tx, ask)
        local field, camp = 0, 0
        for _, place in ipairs(ask.seats) do
            if place.category == "field" then field = field + place.count end
            if place.category == "camp" then camp = camp + place.count end
        end
        if ask.verb == "take" then
            local held, booked = tx:count(ask.event, ask.customer, "field")
            field = field + held + booked
            held, booked = tx:count(ask.event, ask.customer, "camp")
            camp = camp + held + booked
        end
        if camp <= field then return true end
        return nil, { message = ("%d camping places need as many tickets for the field"):format(camp),
            hint = "add FIELD tickets" }
    end,
}

return policy {
    name = "festival",
    hold_ttl = "20m", hold_max = "40m", wait_ttl = "1h",
    rules = {
        rules.max_per_customer(10),
        rules.occupancy { percent = 95 }, -- the fire brigade wants room to move
        camp_with_ticket,
    },
    price = rules.price_zones { field = { 8900, day = 3900, child = 0 }, camp = 2500 },
}
