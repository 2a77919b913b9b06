local test = require "usher.test"

local CHART = [[{"sections":[{"name":"lower","rows":[{"name":"L","seats":10}]},
    {"name":"middle","rows":[{"name":"M","seats":10}]}]}]]

local function house(now)
    return test.house { policy = "policy.lua", charts = { house = CHART }, now = now or "2026-03-01 09:00",
        events = { ["1"] = { attributes = { start = "2026-05-01 20:00" } } } } -- opens 2026-03-02 20:00
end

-- Lets a customer in, as the queue does.
local function enter(h, ...)
    for _, customer in ipairs { ... } do h:grants(("join 1 %s"):format(customer)) end
end

describe("the stadium's queue", function()
    it("draws among those who came before the opening", function()
        local h = house()
        for i = 1, 150 do h:grants(("join 1 c%d"):format(i), { status = "joined" }) end
        h:refuses("hold 1 c1 L1 --code MEMBER", { rule = "queue", message = "not your turn" })
        h:at "2026-03-02 20:00"
        local admitted, first = 0, 0
        for i = 1, 150 do
            local at = h:run(("place 1 c%d"):format(i))
            if at.status == "admitted" then admitted = admitted + 1 end
            if at.status == "admitted" and i <= 100 then first = first + 1 end
        end
        assert.equal(100, admitted) -- the rate, and not more within the minute
        assert.truthy(first < 100) -- and not those who came first
        h:pass "1m"
        assert.equal("admitted", h:run("place 1 c1").status)
    end)

    it("puts late comers behind, in order", function()
        local h = house "2026-03-02 20:00"
        for i = 1, 100 do h:grants(("join 1 c%d"):format(i), { status = "admitted" }) end
        h:grants("join 1 x", { status = "waiting", ahead = 0 })
        h:pass "1s"
        h:grants("join 1 y", { status = "waiting", ahead = 1 })
        h:pass "59s"
        h:grants("place 1 y", { status = "admitted" })
        h:grants("place 1 x", { status = "admitted" })
    end)

    it("lets people buy for a while only", function()
        local h = house "2026-03-02 20:00"
        enter(h, "ann")
        h:pass "15m"
        h:refuses("hold 1 ann L1 --code MEMBER", { rule = "queue", hint = "join again" })
        h:grants("join 1 ann", { status = "admitted" })
        h:grants "hold 1 ann L1 --code MEMBER"
    end)

    it("goes on when the event's start is moved, at the same rate", function()
        local h = house "2026-03-07 20:00" -- five days after the opening
        for i = 1, 100 do h:grants(("join 1 c%d"):format(i), { status = "admitted" }) end
        h:grants("join 1 x", { status = "waiting" })
        h:grants [[set-event 1 --attributes {"start":"2026-05-06 20:00"}]] -- opens now
        h:grants("place 1 x", { status = "waiting" }) -- no second hundred within the minute
        h:pass "1m"
        h:grants("place 1 x", { status = "admitted" })
    end)

    it("ends with the event: nobody is let in to another one of that name", function()
        local h = house "2026-03-02 20:00"
        enter(h, "ann")
        h:grants "remove-event 1"
        assert.same({}, h:run "keys queue:")
        h:grants [[add-event 1 house --attributes {"start":"2026-05-01 20:00"}]]
        h:refuses("hold 1 ann L1 --code MEMBER", { rule = "queue", hint = "join 1 ann" })
    end)

    it("forgets people", function()
        local h = house() -- before the opening
        enter(h, "ann", "bob")
        h:grants "forget ann"
        for _, key in ipairs(h:run "keys queue:") do
            assert.is_nil(key:find("ann", 1, true))
            assert.not_equal("ann", h:get(key))
        end
        h:at "2026-03-02 20:00"
        h:grants("place 1 bob", { status = "admitted" })
        h:grants "forget bob"
        assert.same({ "queue:1" }, h:run "keys queue:") -- how many more may come in within the minute
        h:refuses("forget bob", { code = "NOTFOUND" })
    end)

    it("tells strangers to join", function()
        house():refuses("hold 1 zoe L1", { rule = "queue", hint = "join 1 zoe" })
    end)
end)

describe("the stadium's sale", function()
    it("lets each code in at its time", function()
        local h = house "2026-03-02 20:00"
        enter(h, "ann")
        h:refuses("hold 1 ann L1", { rule = "window" })
        h:refuses("hold 1 ann L1 --code FAN", { rule = "window" })
        h:grants "hold 1 ann L1 --code MEMBER"
        h:at "2026-03-04 20:00"
        enter(h, "bob")
        h:grants "hold 1 bob L2 --code FAN"
        h:at "2026-03-06 20:00"
        enter(h, "cid")
        h:grants "hold 1 cid L3"
    end)

    it("stops hoarders", function()
        local h = house "2026-03-10"
        enter(h, "ann")
        h:play "o = hold 1 ann L1..L4"
        h:refuses("hold 1 ann L5", { rule = "max_per_customer" })
        h:pass "9m"
        h:refuses("hold 1 ann L1", { rule = "rehold" }) -- until minute 17: over its lifetime
        h:grants "hold 1 ann L5"
    end)

    it("opens the middle tier when the lower one is nearly sold", function()
        local h = house "2026-03-10"
        enter(h, "ann", "bob", "cid")
        h:refuses("hold 1 ann M1", { rule = "section_order" })
        h:grants "book 1 ann L1..L4"
        h:grants "book 1 bob L5..L8"
        h:grants "hold 1 cid M1"
    end)

    it("offers what comes free to who waits, however long ago it was let in", function()
        local h = house "2026-03-10"
        enter(h, "bob", "cid", "eve", "fay")
        for i, who in ipairs { "bob", "cid", "eve" } do
            h:grants(("book 1 %s L%d..L%d"):format(who, i * 4 - 3, math.min(i * 4, 10)))
        end
        h:grants "block 1 M1..M10"
        h:refuses("wait 1 stranger 1", { rule = "queue" }) -- never came through the queue
        h:grants("wait 1 fay 2", { place = 1 })
        h:grants "join 1 gil"
        h:pass "20m"
        h:refuses("wait 1 gil 1", { rule = "queue", message = "the time for buying is over", hint = "join again" })
        h:refuses("hold 1 fay L1", { code = "TAKEN" })
        h:grants "cancel $eve"
        assert.equal(2, #h:orders({ customer = "fay" })[1].seats)
        assert.same({}, h:orders { customer = "stranger" })
        assert.same({}, h:orders { customer = "gil" })
        h:grants("join 1 gil", { status = "admitted" })
        h:grants("wait 1 gil 1", { place = 1 })
        h:grants "cancel-seat 1 L1"
        assert.equal("held", h:orders({ customer = "gil" })[1].status)
    end)

    it("lets nobody pass the queue by waiting for seats", function()
        local h = house "2026-03-10"
        h:grants "block 1 L1..L10"
        h:grants "block 1 M1..M10"
        h:refuses("wait 1 zoe 1", { rule = "queue", message = "buyers queue for this event", hint = "join 1 zoe" })
        for i = 1, 100 do h:grants(("join 1 c%d"):format(i), { status = "admitted" }) end
        h:grants("wait 1 c1 1", { place = 1 })
        h:grants("join 1 zoe", { status = "waiting" })
        h:refuses("wait 1 zoe 1", { rule = "queue", message = "not your turn yet", hint = "place 1 zoe" })
        h:grants("wait 1 c2 1", { place = 2 })
        h:pass "2m"
        h:grants("place 1 zoe", { status = "admitted" })
        h:grants("wait 1 zoe 1", { place = 3 }) -- behind those who were let in before
        h:grants "unblock 1 L1"
        assert.equal("held", h:orders({ customer = "c1" })[1].status)
        assert.same({}, h:orders { customer = "zoe" })
    end)

    it("exempts no role from the queue that waits: nobody at the counter takes what is offered", function()
        local h = house "2026-03-10"
        h:grants "block 1 L1..L10"
        h:grants "block 1 M1..M10"
        h:refuses("wait 1 zoe 1", { rule = "queue", user = { roles = { "box-office" } } })
    end)

    it("sells nobody more than four, and nothing to who never came through the queue", function()
        test.property {
            policy = "policy.lua", charts = { house = CHART }, now = "2026-03-10",
            events = { ["1"] = { attributes = { start = "2026-05-01 20:00" } } },
            customers = 300,
            actions = { function(h, random)
                local parties = h:parties()
                local who = #parties > 0 and parties[random:int(1, #parties)].customer or "c1"
                return "join 1 " .. who
            end, function(_, random) return "join 1 c" .. random:int(1, 200) end },
            holds = function(h)
                local places = {}
                for _, party in ipairs(h:parties()) do
                    places[party.customer] = (places[party.customer] or 0) + #party.seats
                    if places[party.customer] > 4 then return false, party.customer .. " has more than four" end
                    if not h:get("queue:1:c:" .. party.customer) then
                        return false, party.customer .. " never queued"
                    end
                end
            end,
        }
    end)
end)
