-- The default behaviour is a bundle like any other: it can be read, copied and changed.
local test = require "usher.test"

local read = require("spec.support.files").read

local AREAS = [[{"rows":[{"row":"A","seats":4}],"areas":[
    {"name":"FLOOR","category":"standing","capacity":4}, {"name":"LAWN","category":"lawn","capacity":10},
    {"name":"PIT","category":"standing","capacity":4}, {"name":"YARD","category":"standing","capacity":4},
    {"name":"TENT","category":"tent","capacity":12}]}]]

describe("a refusal for want of room in an area", function()
    -- Refused with that alternative, which is then granted.
    local function proposes(h, command, words, wanted)
        local refusal = wanted or { code = "TAKEN" }
        refusal.hint = "possible: " .. words
        h:refuses(command, refusal)
        local before = command:match "^%a+ %S+ %S+ "
        h:grants(before .. words)
    end

    it("names the nearest one with room, of the same category first", function()
        local h = test.house { charts = { house = AREAS }, events = { ["1"] = {} } }
        h:grants "book 1 ann FLOOR*4"
        proposes(h, "hold 1 bob FLOOR*2", "PIT*2")
        proposes(h, "book 1 cid FLOOR*3", "YARD*3")
        proposes(h, "book 1 dan FLOOR*2=child FLOOR*1", "LAWN*2=child LAWN*1")
        proposes(h, "book 1 eve A1 FLOOR*1", "A1 PIT*1")
        proposes(h, "book 1 fay LAWN*8", "TENT*8") -- another one of its category there is not
        local refusal = h:refuses("book 1 gil LAWN*9", { code = "TAKEN" })
        assert.is_nil(refusal.alternative)
    end)

    it("names one that costs the same before others, and none that rules or prices refuse", function()
        local h = test.house { charts = { house = AREAS }, events = { ["1"] = {} }, policy = [[
            return policy { price = function(_, _, place)
                if place.label == "LAWN" and place.type then deny "no such ticket" end
                return place.label == "PIT" and 900 or 500
            end, rules = { rule { name = "adults", check = function(_, ask)
                for _, place in ipairs(ask.seats) do
                    if place.label == "TENT" then return nil, { seat = place, message = "SEAT is for children" } end
                end
                return true
            end } } }]] }
        h:grants "book 1 ann FLOOR*4"
        proposes(h, "book 1 bob FLOOR*3", "YARD*3")
        proposes(h, "book 1 cid FLOOR*3", "PIT*3")
        proposes(h, "book 1 dan FLOOR*2", "LAWN*2")
        assert.is_nil(h:refuses("book 1 eve FLOOR*2=child", { code = "TAKEN" }).alternative)
        proposes(h, "book 1 fay TENT*2", "LAWN*2", { rule = "adults" })
    end)

    it("goes for what overbooking refuses, for a move, and for several events", function()
        local h = test.house { charts = { house = AREAS }, events = { ["1"] = {}, ["2"] = {} },
            policy = [[local rules = require "usher.rules"
            return policy { rules = { rules.overbook { FLOOR = 150 } } }]] }
        h:grants "book 1 ann FLOOR*5"
        proposes(h, "book 1 bob FLOOR*3", "PIT*3", { rule = "overbook", seat = "FLOOR" })
        h:play "o = book 1 cid YARD*2"
        h:refuses("move $o YARD*2 FLOOR*2", { rule = "overbook", hint = "possible: LAWN*2" })
        h:grants "move $o YARD*2 LAWN*2"
        h:refuses("book 2 dan FLOOR*2 1:FLOOR*2", { rule = "overbook", hint = "possible: 2:FLOOR*2 1:YARD*2" })
        h:grants "book 2 dan 2:FLOOR*2 1:YARD*2"
    end)

    it("looks at the areas close by only, of however many", function()
        local list = {}
        for i = 1, 5000 do
            local capacity = i == 2600 and 4 or i == 4900 and 9 or 1
            list[i] = ('{"name":"T%d","category":"c","capacity":%d}'):format(i, capacity)
        end
        local h = test.house { charts = { house = '{"areas":[' .. table.concat(list, ",") .. "]}" },
            events = { ["1"] = {} }, policy = [[return policy { commands = { command { name = "cost",
                kind = "transaction", group = "orders", summary = "x", access = "client",
                args = { { "event", "event" }, { "area", "string" } },
                run = function(tx, req)
                    local before = tx:used()
                    local found = tx:near(req.event:area(req.area), 3)
                    return { found = #found, first = found[1] and found[1].name, cost = tx:used() - before }
                end } } }]] }
        h:grants("cost 1 T2500", { found = 1, first = "T2600", cost = 0 })
        h:grants("cost 1 T1", { found = 0, cost = 0 })
        proposes(h, "book 1 ann T2500*3", "T2600*3")
    end)
end)

describe("the default behaviour", function()
    it("is what its own files say when they are a bundle", function()
        local copy = test.house { policy = read "lua/policy/default/policy.lua", rows = { "A: ...." } }
        local order = copy:grants("hold 1 ann A1 A2", { status = "held", price = 0 })
        assert.equal(copy.now + 600000, order.expires_at)
    end)

    it("can be changed command by command", function()
        local h = test.house { rows = { "A: ...." }, policy = [[
            return policy { name = "loud", commands = { command {
                name = "book", group = "orders", kind = "transaction", access = "client",
                summary = "Book for a friend", example = "book 1 ann A1",
                args = { { "event", "event" }, { "customer", "customer" }, { "seats", "seat", many = true } },
                run = function(tx, req)
                    return tx:take { customer = "friend-of-" .. req.customer, seats = req.seats }
                end } } }]] }
        h:grants("book 1 ann A1", { customer = "friend-of-ann" })
        h:grants("hold 1 ann A2", { customer = "ann" }) -- the others are as they were
    end)

    it("can be copied whole: every file of commands is a module of a bundle", function()
        local dir = os.tmpname()
        os.remove(dir)
        assert(os.execute(("mkdir '%s' && cp lua/commands/*.lua '%s'"):format(dir, dir)))
        finally(function() os.execute(("rm -r '%s'"):format(dir)) end)
        local function write(name, text)
            local file = assert(io.open(dir .. "/" .. name, "w"))
            file:write(text)
            file:close()
        end
        local take, n = read("lua/commands/take.lua"):gsub("count: at least 1 seat", "how many are you?")
        assert.equal(1, n)
        write("take.lua", take)
        write("policy.lua", [[return policy { commands = { require "take", require "give", require "change",
            require "orders", require "wait", require "events", require "block", require "kv", require "charts" } }]])
        local h = test.house { policy = dir, rows = { "A: ...." } }
        h:refuses("best 1 ann 0", { message = "how many are you?" })
        h:play "o = hold 1 ann A1 A2"
        h:grants "cancel $o A1"
        assert.equal(1, h:count "held")
    end)

    it("swaps, splits and moves in a house that is sold out", function()
        local h = test.house { rows = { "A: ....", "B: .." } }
        h:play "o = book 1 ann A1 A2 B1\np = book 1 bob A3 A4 B2"
        h:grants "swap $o B1 $p A3" -- both sit together afterwards
        assert.equal(h:order("o").order, h:seat("A3").order)
        local parts = h:grants "split $o A1"
        assert.equal(2, #parts.orders)
        assert.equal(0, h:count "free")
        h:grants "swap $o A2 $p A4"
        assert.equal(0, h:count "free")
    end)

    it("moves a party by one seat, and into one area place by place", function()
        local h = test.house { rows = { "A: ........" }, areas = { FLOOR = 10 } }
        h:play "o = book 1 ann A4 A5\np = book 1 bob A1 A2"
        h:grants "move $o A4 A5 A5 A6"
        assert.equal("free", h:seat("A4").status)
        assert.equal("booked", h:seat("A6").status)
        h:grants "move $p A1 FLOOR*1 A2 FLOOR*1"
        h:refuses("move $o A5 A7 A5 A8", { code = "BADARG", message = "seat A5 is given twice" })
        h:refuses("move $o A5 A7 A6 A7", { code = "BADARG", message = "seat A7 is given twice" })
    end)

    it("takes an area once for each ticket type", function()
        local h = test.house { areas = { FLOOR = 4 }, policy = [[
            return policy { name = "types", price = require("usher.rules").price_zones {
                default = { 100, child = 40 } } }]] }
        local order = h:grants("hold 1 ann FLOOR*2 FLOOR*1=child", { price = 240 })
        assert.same({ 2, 1 }, { order.seats[1].count, order.seats[2].count or 1 })
        assert.equal("child", order.seats[2].type)
        assert.same({ 200, 40 }, { order.lines[1].total, order.lines[2].total })
        h:refuses("book 1 bob FLOOR*1 FLOOR*1=child", { code = "TAKEN", message = "1 places left" })
        h:refuses("book 1 bob FLOOR*1 FLOOR*1", { code = "BADARG", message = "FLOOR is given twice" })
        h:grants "confirm $ann"
        h:grants "cancel $ann"
        h:grants "book 1 bob FLOOR*3=child FLOOR*1"
    end)

    it("moves places of two ticket types at once, each with its own", function()
        local h = test.house { rows = { "A: ..." }, areas = { FLOOR = 4, BALCONY = 4 } }
        h:play "o = book 1 ann FLOOR*1 FLOOR*1=child A1=senior"
        h:grants "move $o FLOOR*2 BALCONY*2 A1 A2"
        local words = {}
        for i, place in ipairs(h:order("o").seats) do
            words[i] = ("%s*%d %s"):format(place.seat, place.count or 1, place.type or "")
        end
        assert.same({ "BALCONY*1 ", "BALCONY*1 child", "A2*1 senior" }, words)
    end)

    it("answers `already` only for the tickets that one has", function()
        local h = test.house { rows = { "A: ...." }, areas = { FLOOR = 4 }, policy = [[
            return policy { name = "types", price = require("usher.rules").price_zones {
                default = { 1000, child = 500 } } }]] }
        h:grants("hold 1 ann A1 A2=child", { price = 1500 })
        h:refuses("hold 1 ann A1=child A2=child", { code = "TAKEN", message = "A1" })
        h:refuses("hold 1 ann A1 A2", { code = "TAKEN", message = "A1" })
        h:grants("hold 1 ann A2=child A1", { already = true, price = 1500 }) -- in any order
        h:refuses("hold 1 ann A1 A2=child FLOOR*1", { code = "TAKEN", message = "A1" })
    end)

    it("leaves no order with a price below zero, whatever a policy made of it before", function()
        local h = test.house { rows = { "A: ......" }, policy = [[
            return policy { name = "gifts", price = require("usher.rules").price_zones { default = 6500 },
                commands = { command { name = "charge", kind = "transaction", group = "orders",
                    args = { { "order", "order" }, { "amount", "int" } },
                    run = function(tx, req) return tx:amend(req.order, { price = req.amount }) end } } }]] }
        h:play "x = book 1 ann A1 A2 A3 A4"
        h:grants("charge $x 0", { price = 0 })
        h:grants("cancel $x A1", { price = 0 })
        local one = h:grants("split $x A2").orders
        assert.same({ 0, 0 }, { one[1].price, one[2].price })
        h:grants("charge $x 10000", { price = 10000 })
        one = h:grants("split $x A3").orders
        assert.same({ 3500, 6500 }, { one[1].price, one[2].price })
        h:grants("charge $x -100", { price = -100 }) -- a policy may owe something: that stays
        h:grants("cancel $x", { price = -100 })
    end)

    it("moves nobody into an event that is closed", function()
        local h = test.house { rows = { "A: ......" }, areas = { FLOOR = 5 }, events = { "1", "2" }, policy = [[
            return policy { name = "desk", commands = { command { name = "seat", kind = "transaction",
                group = "orders", args = { { "order", "order" }, { "seats", "seat", many = true } },
                run = function(tx, req) return tx:reseat(req.order, req.seats, { rules = false }) end } } }]] }
        local closed = { code = "DENIED", message = "event 1 is closed" }
        h:play "x = book 1 ann A1 A2 FLOOR*2\ny = book 1 bob A5\nz = book 2 cid A1"
        h:grants "close-event 1"
        h:refuses("book 1 dan A6", closed)
        h:grants "move $x A1 A3" -- who is in may sit elsewhere
        h:grants "move $x A3 A1"
        h:refuses("move $z A1 1:A3", closed)
        h:grants "swap $x A1 $y A5" -- nothing new is taken
        h:grants "move $x A5 2:A3" -- out of it
        h:grants "move $x FLOOR*1 FLOOR*1=child"
        h:grants "seat $x 1:A2 1:A3" -- who passes by the rules knows what he does
        h:grants "open-event 1"
        h:grants "move $x A3 A6"
    end)

    it("confirms nothing late in an event that is closed", function()
        local h = test.house { rows = { "A: ......" }, events = { "1", "2" },
            policy = 'return policy { name = "late", hold_ttl = "2s", late_confirm = true }' }
        h:play "x = hold 1 ann A1\ny = hold 1 bob A2 2:A2\nz = hold 1 cid A3 --ttl 60"
        h:pass "3s"
        h:grants "close-event 1"
        h:refuses("confirm $x", { code = "DENIED", message = "event 1 is closed" })
        h:refuses("confirm $y", { code = "DENIED", message = "event 1 is closed" })
        h:grants("confirm $z", { status = "booked" }) -- a hold may still be
        h:grants "open-event 1"
        h:grants("confirm $x", { status = "booked" })
    end)

    it("confirms an order of several events late only where all of them allow it", function()
        local h = test.house { rows = { "A: ......" }, events = { "1", ["2"] = { rules = "strict" } },
            policy = [[
            local full = rule { name = "full", check = function(tx)
                return not tx:get "full", { message = "no more legs" } end }
            return policy { name = "legs", hold_ttl = "2s", late_confirm = true,
                rulesets = { strict = { late_confirm = false }, guarded = { rules = { full } } } }]] }
        h:play "x = hold 1 ann A1 2:A1\ny = hold 2 bob A2 1:A2\nz = hold 1 cid A3"
        h:pass "3s"
        h:refuses("confirm $x", { code = "EXPIRED", message = "event 2 confirms no hold late", hint = "again" })
        h:refuses("confirm $y", { code = "EXPIRED", message = "event 2 confirms no hold late" })
        assert.equal("free", h:status "A1")
        h:grants("confirm $z", { status = "booked" })
        h:grants "set-event 2 --rules guarded"
        h:grants "set full true"
        h:refuses("confirm $x", { rule = "full" })
        h:refuses("confirm $y", { rule = "full" })
        h:grants "set full"
        h:grants("confirm $x", { status = "booked" })
        h:grants("confirm $y", { status = "booked" })
    end)

    it("holds seats of several events as long as all of them allow by themselves", function()
        local h = test.house { rows = { "A: ......" }, events = { "1", ["2"] = { rules = "m" } },
            policy = [[return policy { name = "long", hold_ttl = "10m",
                rulesets = { m = { hold_ttl = "1m", hold_max = "2m" } } }]] }
        local minute = 60000
        assert.equal(h.now + minute, h:grants("hold 1 ann A1 2:A1").expires_at)
        assert.equal(h.now + minute, h:grants("hold 2 bob 1:A2 A2").expires_at)
        assert.equal(h.now + 10 * minute, h:grants("hold 1 dan 1:A3").expires_at)
        assert.equal(h.now + minute, h:grants("best 1,2 cid 1").expires_at)
        h:refuses("hold 1 eve A6 2:A6 --ttl 3m", { code = "LIMIT", message = "at most 120 seconds" })
        h:pass "30s"
        assert.equal(h.now + minute, h:grants("extend $ann").expires_at)
    end)

    it("names no seat nearby that the price function or a rule about metadata would refuse", function()
        local h = test.house { rows = { "A cheap: ..." }, policy = [[
            local zones = require("usher.rules").price_zones { cheap = { 1000, child = 500 } }
            return policy { name = "p", price = function(tx, ask, place)
                if place.label == "A3" and ask.customer == "gil" then deny "not for you" end
                return zones(tx, ask, place)
            end } ]] }
        h:grants "book 1 ann A2"
        assert.is_nil((h:refuses("book 1 fay A2=student", { code = "TAKEN" }).alternative))
        h:refuses("book 1 fay A2=child", { code = "TAKEN", alternative = { "A3=child" } })
        h:refuses("book 1 gil A2", { code = "TAKEN", alternative = { "A1" } })
        local noted = test.house { rows = { "A: ..." }, policy = [[
            return policy { name = "p", rules = { function(_, ask) return not ask.metadata, "no notes" end } } ]] }
        noted:grants "book 1 ann A2"
        local refusal = noted:refuses([[book 1 fay A2 --metadata '{"a":1}']], { code = "TAKEN" })
        assert.is_nil(refusal.alternative)
        noted:refuses("book 1 fay A2", { code = "TAKEN", alternative = { "A3" } })
    end)

    it("names seats of the whole house when none nearby would be granted", function()
        local h = test.house { rows = { "A one: ............", "B two: .w.." }, policy = [[
            return policy { name = "p", rules = { rule { name = "eve", check = function(_, ask)
                return ask.customer ~= "eve" or ask.seats[1].label == "A12" or ask.seats[1].label == "B3"
                    or nil, { message = "SEAT is not for eve", seat = ask.seats[1].seat }
            end } } }]] }
        h:refuses("book 1 eve A1", { rule = "eve", alternative = { "A12" } }) -- 8 are nearer
        h:grants "book 1 ann A1"
        h:refuses("book 1 eve A1", { code = "TAKEN", alternative = { "A12" } }) -- 6 are nearer
        h:grants "book 1 ann A12"
        h:refuses("book 1 eve A1=child", { code = "TAKEN", alternative = { "B3=child" } }) -- of another category
        h:grants "book 1 ann B3"
        assert.is_nil(h:refuses("book 1 eve A1", { code = "TAKEN" }).alternative)
        h:play "o = book 1 dan B1"
        h:grants "book 1 fay A2..A11"
        assert.equal("B4", h:refuses("book 1 dan A1", { code = "TAKEN" }).alternative[1])
        h:grants "book 1 fay B4"
        assert.is_nil(h:refuses("book 1 gil A1", { code = "TAKEN" }).alternative) -- B2 is for a wheelchair
    end)

    it("looks through a large house at the cost of a few blocks", function()
        local rows = {}
        for i = 1, 60 do rows[i] = ("R%dx: %s"):format(i, ("."):rep(50)) end
        for _, rule in ipairs { "seat = function() return false end",
            "check = function(_, ask) return nil, { message = 'SEAT', seat = ask.seats[1].seat } end" } do
            local h = test.house { rows = rows, policy = ([[
                return policy { name = "p", rules = { rule { name = "no", %s } }, commands = { command {
                    name = "used", kind = "transaction", group = "orders", args = { { "event", "event" } },
                    run = function(tx, req)
                        pcall(tx.take, tx, { customer = "ann", seats = { "R30x9" }, event = req.event })
                        return { used = tx:used() }
                    end } } }]]):format(rule) }
            assert.truthy(h:grants("used 1").used <= 2)
        end
    end)

    it("names the same seats of several events", function()
        local h = test.house { rows = { "A: ......" }, events = { "1", "2" }, policy = [[
            return policy { name = "p", rules = { require("usher.rules").no_orphans() } }]] }
        h:grants "book 1 ann A4"
        h:refuses("hold 1 bob A4 2:A4", { code = "TAKEN", alternative = { "A1", "2:A1" } })
        h:refuses("hold 1 bob 2:A4=child A4", { code = "TAKEN", alternative = { "2:A1=child", "A1" } })
        assert.is_nil(h:refuses("hold 1 bob A4 2:A3", { code = "TAKEN" }).alternative)
        h:refuses("hold 1 bob A2 2:A2", { rule = "no_orphans", alternative = { "1:A1", "2:A1" } })
        local other = test.house { rows = { "A: ...x" }, events = { "1", "2" } }
        other:refuses("hold 2 bob 1:A4", { code = "TAKEN", alternative = { "1:A3" } })
    end)

    it("says that best leaves no single seat, where that is why it finds none", function()
        local h = test.house { rows = { "A: ..." },
            policy = 'return policy { name = "p", best = { orphans = false } }' }
        local none = "there are no 2 free seats next to each other"
        h:refuses("best 1 ann 2", { code = "TAKEN", message = none .. " that leave no single seat" })
        h:grants "book 1 bob A2"
        local refusal = h:refuses("best 1 ann 2", { code = "TAKEN", message = none })
        assert.is_nil(refusal.message:find "single")
        local any = test.house { rows = { "A: .x.." } }
        any:grants "book 1 bob A3"
        refusal = any:refuses("best 1 ann 2", { code = "TAKEN", message = none })
        assert.is_nil(refusal.message:find "single")
    end)
end)
