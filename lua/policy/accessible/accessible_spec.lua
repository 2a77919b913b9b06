local test = require "usher.test"

local ROWS = { "A: wccc....", "B: wc......", "C gallery: ........" }

local function house(now)
    return test.house { policy = "policy.lua", rows = ROWS, now = now or "2026-04-01",
        events = { ["1"] = { attributes = { start = "2026-05-01 20:00" } } } }
end

describe("accessible places", function()
    it("are for wheelchair users and up to three companions each", function()
        local h = house()
        h:grants("book 1 ann A1=wheelchair A2 A3 A4", { price = 1500 + 3 * 3000 })
        h:refuses("book 1 bob B1", { rule = "accessible", hint = "B1=wheelchair" })
        h:refuses("book 1 bob B2", { rule = "accessible", message = "companions" })
        h:grants "book 1 bob B3 B4"
    end)

    it("have a ticket that no other seat has", function()
        local h = house()
        h:refuses("book 1 bob A5=wheelchair", { rule = "wheelchair-ticket", seat = "A5" })
        h:refuses("book 1 bob A1=wheelchair A2=wheelchair", { rule = "wheelchair-ticket", seat = "A2" })
        h:play "o = book 1 ann B3"
        h:refuses("move $o B3 B3=wheelchair", { rule = "wheelchair-ticket" })
        h:play "p = book 1 cid B1=wheelchair"
        h:refuses("move $p B1 A6", { rule = "wheelchair-ticket" }) -- the ticket goes along
    end)

    it("cannot be kept with the companion gone elsewhere", function()
        local h = house()
        h:play "o = book 1 ann A1=wheelchair A2"
        h:grants "move $o A2 A3"
        h:refuses("move $o A1 A5", { rule = "accessible" }) -- no wheelchair place, but a companion seat
    end)

    it("are offered to everybody in stages", function()
        local h = house()
        h:at "2026-04-29 20:00"
        h:grants "book 1 ann B2"
        h:refuses("book 1 bob B1", "accessible")
        h:at "2026-05-01 16:00"
        h:grants "book 1 bob B1"
    end)

    it("are the last that best offers", function()
        local h = house "2026-05-01 17:00"
        h:grants("best 1 ann 4", { seats = "A5 A6 A7 A8" })
    end)

    it("leave the gallery to the charity until a week before", function()
        local h = house()
        h:refuses("book 1 ann C1", { rule = "channels" })
        h:grants("book 1 ann C1 --code CHARITY", { price = 1000 })
        h:at "2026-04-24 20:00"
        h:grants "book 1 bob C2"
    end)

    it("never go to anybody else, whatever people try", function()
        -- A seat that is not for who has it; how many of an order came for how many users.
        local function look(h, id)
            local users, company = 0, 0
            for _, place in ipairs(h:order(id).seats) do
                local seat = h:seat(place.seat)
                if seat.accessible and place.type ~= "wheelchair" then return place.seat end
                if seat.accessible then users = users + 1 end
                if seat.companion then company = company + 1 end
            end
            return nil, company, users
        end
        test.property {
            policy = "policy.lua", rows = ROWS, now = "2026-04-01", types = { "wheelchair" }, party = 4,
            events = { ["1"] = { attributes = { start = "2027-05-01 20:00" } } }, codes = { "CHARITY" },
            customers = 300,
            holds = function(h, step)
                for _, party in ipairs(h:parties()) do
                    local seat = look(h, party.order)
                    if seat then return false, seat end
                end
                -- who gives the wheelchair place of a booking back keeps the company
                for _, id in ipairs(step.judged) do
                    local _, company, users = look(h, id)
                    if company > 3 * users then return false, "too much company" end
                end
            end,
        }
    end)
end)
