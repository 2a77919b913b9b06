-- A hall with places for wheelchair users, their companions, and a channel for a charity.
local rules = require "usher.rules"

-- The ticket is cheaper: no other seat is sold with it.
local wheelchair_ticket = rule {
    name = "wheelchair-ticket",
    check = function(_, ask)
        for _, place in ipairs(ask.seats) do -- all: a move may change the ticket of a seat that stays
            if place.type == "wheelchair" and not place.accessible then
                return nil, { seat = place.label, message = "SEAT is no place for a wheelchair",
                    hint = "the ticket is for accessible seats" }
            end
        end
        return true
    end,
}

return policy {
    name = "accessible",
    hold_ttl = "15m",
    rules = {
        rules.max_per_customer(6),
        -- a ticket `A1=wheelchair` brings up to three companions; what is left is for everybody:
        -- companion seats two days before, wheelchair places on the day
        rules.accessible { companions = 3, release = { companion = "-48h", accessible = "-4h" },
            exempt = { "box-office" } },
        wheelchair_ticket,
        rules.channels { { keys = { "CHARITY" }, categories = { "gallery" }, release = "-7d" } },
    },
    price = rules.price_zones { default = { 3000, wheelchair = 1500 }, gallery = 1000 },
}
