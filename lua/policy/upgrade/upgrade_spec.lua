local test = require "usher.test"

describe("upgrade", function()
    local house
    before_each(function()
        house = test.house { policy = "policy.lua", rows = { "A stalls: ....", "B circle: ....", "C: ...." } }
        house:play "o = book 1 ann C1 C2"
    end)

    it("moves an order to the best seats of a category, priced anew", function()
        house:grants("upgrade $o circle --note birthday", { seats = "B1 B2", price = 9000,
            metadata = { note = "birthday" } })
        assert.equal("free", house:status "C1")
        assert.equal("upgraded", house:emitted()[1].name)
    end)

    it("upgrades every place of an area, and each ticket keeps its type", function()
        local h = test.house { policy = "policy.lua", rows = { "A stalls: ...." }, areas = { FLOOR = 9 } }
        h:play "o = book 1 ann FLOOR*2 FLOOR*1=child"
        local order = h:grants("upgrade $o stalls", { price = 3 * 6500 })
        local types = {}
        for i, place in ipairs(order.seats) do types[i] = place.type or "" end
        assert.same({ "", "", "child" }, types)
    end)

    it("refuses what would cost less, what is full and what is only held", function()
        house:grants "upgrade $o stalls"
        house:refuses("upgrade $o circle", { code = "DENIED", message = "costs less" })
        house:grants "book 1 bob B1 B2 B4"
        house:play "p = book 1 cid C3 C4\nq = hold 1 dan C1"
        house:refuses("upgrade $p circle", { code = "TAKEN", message = "no 2 seats of circle" })
        house:refuses("upgrade $q circle", { code = "CONFLICT", message = "only a booked one" })
        assert.equal("booked", house:status "C3")
    end)
end)
