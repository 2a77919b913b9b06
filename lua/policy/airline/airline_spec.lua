local test = require "usher.test"

local ROWS = { "1 business: ..|..", "2 economy: ...|...", "3 economy: ...|..." }

local START = "2026-05-01 08:00"
local CHECK_IN = "2026-04-30 08:00" -- 24 h before

local function house(options)
    return test.house { policy = "policy.lua", rows = options and options.rows or ROWS,
        areas = { { name = "ECONOMY", category = "economy", capacity = 10 },
            { name = "BUSINESS", category = "business", capacity = 4 } },
        now = "2026-04-01", events = options and options.events or { ["1"] = { attributes = { start = START } } } }
end

describe("the airline", function()
    it("sells a cabin to 110 percent and not beyond", function()
        local h = house()
        h:grants("book 1 ann ECONOMY*8", { price = 8 * 18900 })
        h:grants "book 1 bob ECONOMY*3"
        h:refuses("book 1 cid ECONOMY*1", { rule = "overbook", message = "11 are taken" })
        h:grants "book 1 cid BUSINESS*4"
        h:refuses("book 1 dan BUSINESS*1", "overbook") -- 102 percent of 4 is 4
    end)

    it("gives back the ticket that is named, also of a cabin beyond its capacity", function()
        local h = house()
        h:grants "book 1 ann ECONOMY*8"
        h:play "o = book 1 bob ECONOMY*2 ECONOMY*1=child"
        h:grants("cancel $o ECONOMY*1=child", { price = 2 * 18900 })
        h:refuses("book 1 cid ECONOMY*2", { rule = "overbook", message = "10 are taken" })
    end)

    it("counts who has checked in: a seat is a sold place of its cabin", function()
        local h = house()
        h:grants "book 1 ann ECONOMY*8"
        h:grants "book 1 bob ECONOMY*3"
        h:at(CHECK_IN)
        h:grants "check-in $ann"
        h:refuses("book 1 cid ECONOMY*1", { rule = "overbook", message = "11 are taken" })
        h:grants "check-in $bob"
    end)

    it("gives seats at check-in, together, and only then", function()
        local h = house()
        h:refuses("book 1 ann 2-1", { code = "NOTFOUND" })
        h:refuses("book 1 ann 21", { rule = "check-in-only", hint = "ECONOMY*1" })
        h:play "o = book 1 ann ECONOMY*3"
        h:grants "close-event 1" -- nobody books any more
        h:refuses("check-in $o", { code = "DENIED", message = "24 h before" })
        h:at(CHECK_IN)
        h:grants("check-in $o", { seats = "21 22 23" })
        assert.equal(3, h:count "booked")
    end)

    it("gives the seats of each flight of an order when its check-in is open", function()
        local h = house { events = { ["1"] = { attributes = { start = START } },
            ["2"] = { attributes = { start = "2026-05-08 08:00" } } } }
        h:play "o = book 1 ann ECONOMY*1 2:ECONOMY*2\np = book 1 bob ECONOMY*1 2:ECONOMY*1"
        h:refuses("check-in $o", { code = "DENIED", message = "24 h" })
        h:at(CHECK_IN)
        assert.equal(2, #h:grants "check-in $o".seats)
        h:refuses("check-in $o", { code = "DENIED", message = "24 h" }) -- the way back is not open yet
        h:at "2026-05-07 09:00"
        assert.equal(3, #h:grants "check-in $o".seats)
        assert.equal(2, #h:grants "check-in $p".seats) -- who missed the way out is seated on the way back
        assert.equal(3, h:count("booked", "2"))
    end)

    it("closes check-in 45 minutes before departure", function()
        local h = house()
        h:play "o = book 1 ann ECONOMY*1"
        h:at "2026-05-01 07:15"
        h:refuses("check-in $o", { code = "DENIED", message = "45 min" })
    end)

    it("seats a party that is larger than what is left of any row, too", function()
        local h = house()
        h:play "o = book 1 ann ECONOMY*2\np = book 1 bob ECONOMY*3\nq = book 1 cid ECONOMY*4"
        h:at(CHECK_IN)
        h:grants("check-in $o", { seats = "21 22" })
        h:grants("check-in $p", { seats = "24 25 26" }) -- not 23, across the aisle
        h:grants("check-in $q", { seats = "23 31 32 33" })
    end)

    it("gives nobody a seat by another way, nor one of a better cabin", function()
        local h = house()
        h:play "o = book 1 ann ECONOMY*1\np = book 1 bob BUSINESS*1"
        h:refuses("move $o ECONOMY*1 11", { rule = "check-in-only" })
        h:at(CHECK_IN)
        h:play "check-in $o\ncheck-in $p"
        h:refuses("move $o 21 12", { rule = "check-in-only" })
        h:refuses("swap $o 21 $p 11", { rule = "check-in-only" })
    end)

    it("keeps each passenger's ticket at check-in", function()
        local h = house()
        h:play "o = book 1 ann ECONOMY*1=child\np = book 1 bob ECONOMY*1=child ECONOMY*2"
        h:at(CHECK_IN)
        h:grants("check-in $o", { price = 9900 })
        local order = h:grants("check-in $p", { price = 9900 + 2 * 18900 })
        local types = {}
        for i, place in ipairs(order.seats) do
            types[i] = place.type or ""
        end
        assert.same({ "child", "", "" }, types)
        assert.equal(4, h:count "booked")
    end)

    it("denies boarding to who comes last, and keeps their order", function()
        local h = house { rows = { "2 economy: .." } }
        h:play "o = book 1 ann ECONOMY*2\np = book 1 bob ECONOMY*1"
        h:at(CHECK_IN)
        h:grants "check-in $o"
        h:refuses("check-in $p", { code = "TAKEN", rule = "denied-boarding" })
        assert.equal("booked", h:order("p").status)
    end)

    it("sells from 330 days to 45 minutes before departure", function()
        local h = house()
        h:at "2026-05-01 07:15"
        h:refuses("book 1 ann ECONOMY*1", "window")
    end)

    it("lets groups be larger", function()
        local h = house()
        h:refuses("book 1 club ECONOMY*10", { rule = "max_per_customer" })
        h:grants("book 1 club ECONOMY*10", { user = { roles = { "groups" } } })
        h:at(CHECK_IN)
        h:grants "check-in $club" -- whoever asks
    end)

    it("never sells more of a cabin than its percentage, seats given at check-in included", function()
        local SOLD_AT_MOST = { ECONOMY = 22, BUSINESS = 5 }
        test.property {
            policy = "policy.lua", rows = { "1 business: ..|..", "2 economy: ........|........" },
            now = "2026-04-30 10:00", types = { "child" },
            areas = { { name = "ECONOMY", category = "economy", capacity = 20 },
                { name = "BUSINESS", category = "business", capacity = 5 } },
            events = { ["1"] = { attributes = { start = START } } },
            customers = 300, roles = { "groups" },
            actions = { function(_, _, crowd)
                local order = crowd:order()
                return order and "check-in " .. order
            end },
            holds = function(h)
                for _, area in ipairs(h:event().areas) do
                    local held, booked = area:use()
                    local sold = held + booked
                    for _, seat in ipairs(h:seats()) do
                        if seat.category == area.category and seat.order then sold = sold + 1 end
                    end
                    if sold > SOLD_AT_MOST[area.label] then return false, ("%s: %d"):format(area.label, sold) end
                end
            end,
        }
    end)
end)
