local test = require "usher.test"

local AREAS = { { name = "FIELD", category = "field", capacity = 30 },
    { name = "CAMP", category = "camp", capacity = 10 } }

local function house() return test.house { policy = "policy.lua", areas = AREAS } end

describe("the festival", function()
    it("sells tickets for the field by type", function()
        local h = house()
        h:grants("book 1 ann FIELD*2", { price = 2 * 8900 })
        h:grants("book 1 ann FIELD*1=child", { price = 0 })
        h:grants("book 1 bob FIELD*3=day", { price = 3 * 3900 })
        h:refuses("book 1 cid FIELD*1=senior", { code = "BADARG", rule = "price_zones" })
    end)

    it("lets nobody camp without a ticket", function()
        local h = house()
        h:refuses("book 1 ann CAMP*2", { rule = "camp-with-ticket" })
        h:grants "book 1 ann FIELD*2 CAMP*1"
        h:grants "book 1 ann CAMP*1"
        h:refuses("book 1 ann CAMP*1", { rule = "camp-with-ticket" })
    end)

    it("gives back the ticket that is named, at its price", function()
        local h = house()
        h:play "x = book 1 ann FIELD*2 CAMP*1"
        h:grants("move $x CAMP*1 FIELD*1=day", { price = 2 * 8900 + 3900 })
        local order = h:grants("cancel $x FIELD*1=day", { price = 2 * 8900 })
        assert.equal(1, #order.seats)
        assert.equal(nil, order.seats[1].type)
        assert.equal(2, order.seats[1].count)
    end)

    it("splits off tickets with their types and prices", function()
        local h = house()
        h:play "x = book 1 ann FIELD*3 FIELD*2=day FIELD*1=child"
        local one = h:grants("split $x FIELD*1=day FIELD*1=child").orders
        assert.same({ 3 * 8900 + 3900, 3900 }, { one[1].price, one[2].price })
        assert.same({ "day", "child" }, { one[2].seats[1].type, one[2].seats[2].type })
        one = h:grants("split $x FIELD*1").orders
        assert.same({ 2 * 8900 + 3900, 8900 }, { one[1].price, one[2].price })
        assert.equal(8900, one[2].lines[1].total)
        h:refuses("cancel $x FIELD*1=child", { code = "NOTFOUND" })
        h:grants("cancel $x FIELD*1=day FIELD*1", { price = 8900 })
    end)

    it("stops at 95 percent of all places", function()
        local h = house()
        for i = 1, 4 do h:grants(("book 1 c%d FIELD*5 CAMP*2"):format(i)) end
        h:grants "book 1 c5 FIELD*8 CAMP*1"
        h:refuses("book 1 c6 FIELD*2", { rule = "occupancy", code = "LIMIT", hint = "1 more" })
        h:grants "book 1 c6 FIELD*1"
    end)

    it("gives what comes back to those who wait", function()
        local h = house()
        for i = 1, 3 do h:grants(("book 1 c%d FIELD*10"):format(i)) end
        h:grants("wait 1 eve 2 --category field", { place = 1 })
        h:grants("wait 1 tom 3 --category field", { place = 2 })
        h:grants "cancel $c1 FIELD*4"
        local got = h:orders({ customer = "eve" })[1]
        assert.equal("held", got.status)
        assert.equal(0, #h:orders { customer = "tom" })
        h:pass "40m" -- eve does not confirm (a hold lasts 40 minutes here): tom is next
        assert.equal("held", h:orders({ customer = "tom" })[1].status)
    end)

    it("never sells more than there is, nor camping without tickets", function()
        local camped, store = {}, nil -- camping places by customer, before the last step
        local function lacks_tickets(h)
            local field, camp = {}, {}
            for _, order in ipairs(h:orders { status = "live" }) do
                for _, place in ipairs(order.seats) do
                    local sum = place.seat == "CAMP" and camp or field
                    sum[order.customer] = (sum[order.customer] or 0) + (place.count or 1)
                end
            end
            local before = store == h.store and camped or {}
            camped, store = camp, h.store
            for who, n in pairs(camp) do -- who gives a ticket back keeps the tent: only takes are judged
                if n > (before[who] or 0) and n > (field[who] or 0) then return who end
            end
        end
        test.property {
            policy = "policy.lua", areas = AREAS, types = { "day" }, party = 4,
            customers = 300,
            holds = function(h)
                local sum = 0
                for _, area in ipairs(h:event().areas) do
                    local held, booked = area:use()
                    if held + booked > area.capacity then return false, area.label end
                    sum = sum + held + booked
                end
                local who = lacks_tickets(h)
                if who then return false, who .. " camps without a ticket" end
                return sum <= 38, "more than 95 percent"
            end,
        }
    end)
end)
