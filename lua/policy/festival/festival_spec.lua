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

    it("books no tent with tickets that are only held", function()
        local h = house()
        h:play "o = hold 1 ann FIELD*2"
        h:refuses("book 1 ann CAMP*2", { rule = "camp-with-ticket" })
        h:play "p = hold 1 ann CAMP*2" -- held together: they are judged when they are booked
        h:refuses("confirm $p", { rule = "camp-with-ticket", hint = "FIELD" })
        h:play "q = book 1 bob FIELD*2 CAMP*1\nr = hold 1 bob FIELD*1"
        h:refuses("move $q FIELD*1 CAMP*1", { rule = "camp-with-ticket" })
        h:grants "confirm $o"
        h:grants "confirm $p"
    end)

    it("counts the tickets and tents of all that a customer has, whatever is asked", function()
        local h = house()
        h:play "o = book 1 ann FIELD*4\np = book 1 ann CAMP*4"
        h:refuses("move $o FIELD*2 CAMP*2", { rule = "camp-with-ticket", message = "field: 4" })
        h:grants "move $p CAMP*1 FIELD*1"
        h:grants "move $o FIELD*1 CAMP*1"
        h:refuses("move $o FIELD*1 CAMP*1", { rule = "camp-with-ticket", hint = "FIELD" })
    end)

    it("books no tent whose ticket was given back, and refuses nobody a ticket", function()
        local h = house()
        h:play "o = hold 1 ann FIELD*2 CAMP*2\nrelease $o FIELD*2"
        h:refuses("confirm $o", { rule = "camp-with-ticket" })
        h:grants "book 1 ann FIELD*1" -- one of two: no tent more
        h:refuses("confirm $o", { rule = "camp-with-ticket", message = "field: 1" })
        h:grants "book 1 ann FIELD*1"
        h:grants "confirm $o"
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
        local GIVES_BACK = { release = true, cancel = true, pass = true }
        local missing, store = {}, nil -- booked tickets, by customer, before the last step
        local function lacks_tickets(h, step)
            local now = {}
            for _, order in ipairs(h:orders { status = "booked" }) do
                for _, place in ipairs(order.seats) do
                    local n = place.seat == "CAMP" and 1 or -1
                    now[order.customer] = (now[order.customer] or 0) + n * (place.count or 1)
                end
            end
            local before = store == h.store and missing or {}
            missing, store = now, h.store
            if GIVES_BACK[step.line[1]] then return nil end -- who gives a ticket back keeps the tent
            for who, n in pairs(now) do
                if n > 0 and n > (before[who] or 0) then return who end
            end
        end
        test.property {
            policy = "policy.lua", areas = AREAS, types = { "day" }, party = 4,
            customers = 300,
            holds = function(h, step)
                local sum = 0
                for _, area in ipairs(h:event().areas) do
                    local held, booked = area:use()
                    if held + booked > area.capacity then return false, area.label end
                    sum = sum + held + booked
                end
                local who = lacks_tickets(h, step)
                if who then return false, who .. " camps without a ticket" end
                return sum <= 38, "more than 95 percent"
            end,
        }
    end)
end)
