-- A train: each leg between two stops is an event, all with the train's chart. A journey takes the
-- same seats on every leg, or none.
local rules = require "usher.rules"

-- Whoever rides over several legs keeps the seat, also after a move, and when a hold is confirmed that
-- has given seats back on one leg.
local same_seat = rule {
    name = "same-seat", on = { "take", "reseat", "confirm" },
    check = function(_, ask)
        local times, legs, count = {}, {}, 0
        for _, place in ipairs(ask.all) do
            times[place.label] = (times[place.label] or 0) + 1
            if not legs[place.event] then legs[place.event], count = true, count + 1 end
        end
        for label, n in pairs(times) do
            if n ~= count then
                deny { message = "a journey keeps its seats: SEAT is not on every leg", seat = label }
            end
        end
        return true
    end,
}

return policy {
    name = "train",
    hold_ttl = "10m",
    rules = {
        same_seat,
        rules.max_per_customer(9),
        rules.channels { { keys = { "GROUPS" }, categories = { "group" }, release = "-1d" } },
    },
    price = rules.price_zones { default = { 900, child = 450 }, first = 1600, group = 600 }, -- a leg
    commands = { require "ride" },
}
