local test = require "usher.test"

local ROWS = { "1 business: ..|..", "2 economy: ...|...", "3 economy: ...|..." }

local function house(options)
    return test.house { policy = "policy.lua", rows = options and options.rows or ROWS,
        areas = { { name = "ECONOMY", category = "economy", capacity = 10 },
            { name = "BUSINESS", category = "business", capacity = 4 } },
        now = "2026-04-01", events = { ["1"] = { attributes = { start = "2026-05-01 08:00" } } } }
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

    it("gives seats at check-in, together, and only then", function()
        local h = house()
        h:refuses("book 1 ann 2-1", { code = "NOTFOUND" })
        h:refuses("book 1 ann 21", { rule = "check-in-only", hint = "ECONOMY*1" })
        h:play "o = book 1 ann ECONOMY*3"
        h:grants "close-event 1" -- nobody books any more
        h:grants "check-in $o"
        assert.equal(3, h:count "booked")
    end)

    it("keeps each passenger's ticket at check-in", function()
        local h = house()
        h:play "o = book 1 ann ECONOMY*1=child\np = book 1 bob ECONOMY*1=child ECONOMY*2"
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
    end)

    it("never sells more of a cabin than its percentage", function()
        test.property {
            policy = "policy.lua", rows = { "1 economy: ..." }, now = "2026-04-01", types = { "child" },
            areas = { { name = "ECONOMY", category = "economy", capacity = 20 },
                { name = "BUSINESS", category = "business", capacity = 5 } },
            events = { ["1"] = { attributes = { start = "2026-05-01 08:00" } } },
            customers = 300,
            holds = function(h)
                for _, area in ipairs(h:event().areas) do
                    local held, booked = area:use()
                    local sold = held + booked
                    local most = area.label == "ECONOMY" and 22 or 5
                    if sold > most then return false, ("%s: %d"):format(area.label, sold) end
                end
            end,
        }
    end)
end)
