local test = require "usher.test"

local function house(rows)
    return test.house { policy = "policy.lua", rows = rows or { "C1-: ..|.." },
        events = { "ICE7-1", "ICE7-2", "ICE7-3" } }
end

describe("the train", function()
    it("sells the same seat on every leg of a journey", function()
        local h = house()
        local answer = h:grants("ride ICE7 1 4 ann 2", { status = "held", price = 2 * 3 * 900 })
        assert.equal(6, #answer.seats)
        for leg = 1, 3 do
            assert.equal(answer.seats[1].seat, answer.seats[leg * 2 - 1].seat)
            assert.equal("held", h:status(answer.seats[1].seat, "ICE7-" .. leg))
        end
    end)

    it("sells a seat again on the legs where it is free", function()
        local h = house { "C1-: ." }
        h:grants "ride ICE7 1 2 ann"
        h:grants "ride ICE7 2 4 bob"
        h:refuses("ride ICE7 1 4 cid", { code = "TAKEN", hint = "two parts" })
    end)

    it("lets groups ride in their own cars, with their code", function()
        local h = test.house { policy = "policy.lua", rows = { "C1-: ..", "C9- group: ...." },
            events = { ["ICE7-1"] = { attributes = { start = "2026-02-01 10:00" } } } }
        h:refuses("ride ICE7 1 2 ann 3 --category group", { code = "TAKEN" })
        h:grants("ride ICE7 1 2 ann 3 --category group --code GROUPS", { price = 1800 })
    end)

    it("fills the gaps before it breaks a free stretch", function()
        local h = house { "C1-: ...." }
        h:grants "book ICE7-1 ann C1-1"
        h:grants "ride ICE7 2 4 bob"
        assert.equal("held", h:status("C1-1", "ICE7-2"))
    end)

    it("gives a journey back leg by leg or at once", function()
        local h = house()
        h:play "o = ride ICE7 1 3 ann"
        h:grants "release $o"
        assert.equal(0, h:count("held", "ICE7-1"))
        h:play "p = ride ICE7 1 3 ann"
        h:refuses("move $p ICE7-1:C1-2 ICE7-1:C1-4", { rule = "same-seat" })
        h:grants "move $p ICE7-1:C1-2 ICE7-1:C1-4 ICE7-2:C1-2 ICE7-2:C1-4"
        h:refuses("ride ICE7 3 2 ann", { code = "BADARG" })
        h:refuses("ride ICE7 3 9 ann", { code = "NOTFOUND", message = "leg 4" })
    end)

    it("books no journey of which a seat was given back on one leg", function()
        local h = house()
        h:play "o = ride ICE7 1 3 ann 2\nrelease $o ICE7-1:C1-1"
        h:refuses("confirm $o", { rule = "same-seat" })
        h:grants "release $o ICE7-2:C1-1"
        h:grants "confirm $o"
    end)

    it("never sells a journey over two seats", function()
        -- A seat of the order that is not on every leg, on how many it is, and how many there are.
        local function broken(order)
            local count, legs, n = {}, {}, 0
            for _, place in ipairs(order.seats) do
                count[place.seat] = (count[place.seat] or 0) + 1
                if not legs[place.event] then legs[place.event], n = true, n + 1 end
            end
            for seat, times in pairs(count) do
                if times ~= n then return seat, times, n end
            end
        end
        test.property {
            policy = "policy.lua", rows = { "C1-: ....", "C2-: ...." }, events = { "T-1", "T-2", "T-3" },
            customers = 300, party = 3,
            actions = { function(_, random)
                local from = random:int(1, 3)
                return ("ride T %d %d r%d %d"):format(from, random:int(from + 1, 4), random:int(1, 999),
                    random:int(1, 3))
            end },
            holds = function(h, step)
                for _, id in ipairs(step.judged) do
                    local seat, times, legs = broken(h:order(id))
                    if seat then return false, ("%s on %d of %d legs"):format(seat, times, legs) end
                end
            end,
        }
    end)
end)
