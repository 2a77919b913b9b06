local test = require "usher.test"

local ROWS = { "A: ....|......|....", "B: ....|......|....", "C lounge: ....|......|...." }

describe("the cinema", function()
    local function house(options)
        options = options or {}
        options.policy, options.rows = "policy.lua", options.rows or ROWS
        return test.house(options)
    end

    it("sells families their seats, children cheaper", function()
        house():grants("book 1 ann A5 A6=child A7=child", { price = 2800 })
    end)

    it("sends no child alone", function()
        local h = house()
        h:refuses("book 1 kim A5=child A6=child", { rule = "with-adult", message = "adult" })
        h:grants "book 1 kim A5=child A6"
    end)

    it("lets no child be moved or booked without the adult it came with", function()
        local h = house()
        h:play "o = book 1 ann A5=child A6"
        h:refuses("move $o A6 A6=child", { rule = "with-adult" })
        h:play "p = hold 1 bob B5=child B6\nrelease $p B6"
        h:refuses("confirm $p", { rule = "with-adult", hint = "adult" })
        h:play "q = hold 1 cid C5=child C6=child C7 C8\nsplit $q C5 C7"
        h:grants "confirm $q"
    end)

    it("leaves no hole where the party could sit without one", function()
        local h = house()
        h:grants "book 1 ann A5 A6"
        h:refuses("book 1 bob A8", { rule = "no_orphans", seat = "A7", alternative = { "A9" } })
    end)

    it("takes the hole when nothing else is left", function()
        local h = house { rows = { "A: x..x" } }
        h:grants "book 1 ann A3"
    end)

    it("offers the middle of the best row, and matinees cost less", function()
        local h = house { rows = { "A: ....", "B: ....", "C: ....", "D: ....", "E: ....", "F: ...." },
            events = { ["1"] = {}, ["2"] = { rules = "matinee" } } }
        h:grants("best 1 ann 2", { seats = "F1 F2" })
        h:grants("best 2 bob 1", { price = 800 })
    end)

    it("never sells more than eight to one customer, nor to a child alone", function()
        local function children_alone(order)
            local children = 0
            for _, place in ipairs(order.seats) do
                if place.type == "child" then children = children + 1 end
            end
            return children > 0 and children == #order.seats
        end
        test.property {
            policy = "policy.lua", rows = ROWS, types = { "child" }, party = 6,
            customers = 300,
            holds = function(h, step)
                local places = {}
                for _, party in ipairs(h:parties()) do
                    places[party.customer] = (places[party.customer] or 0) + #party.seats
                    if places[party.customer] > 8 then return false, party.customer .. " has too many" end
                end
                -- who gives the adult's seat of a booking back leaves the child: nothing is sold then
                for _, id in ipairs(step.judged) do
                    local order = h:order(id)
                    if children_alone(order) then return false, order.customer .. "'s children are alone" end
                end
            end,
        }
    end)
end)
