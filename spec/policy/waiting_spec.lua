-- The waiting list: who gets a seat that comes free, for how long, and in which order.
local test = require "usher.test"

local function house(options)
    local given = { rows = { "A: xxxx" }, policy = "return policy { name = 'w', wait_ttl = '10m' }" }
    for key, value in pairs(options or {}) do given[key] = value end
    return test.house(given)
end

local function waiting(h, event)
    local out = {}
    for i, wait in ipairs((h:run("waits " .. (event or "1")))) do
        assert.equal(i, wait.place)
        out[i] = wait.customer .. wait.count
    end
    return table.concat(out, " ")
end

local function order_of(h, customer) return h:orders({ customer = customer })[1] end

describe("time in a test", function()
    it("tells of an expire hook that fails, which no answer does", function()
        local h = test.house { rows = { "A: ..." },
            policy = "return policy { hooks = { expire = function(tx, o)\n tx:set('n', tx:get('n') + 1) end } }" }
        h:grants "hold 1 ann A1"
        local ok, why = pcall(h.pass, h, "11m")
        assert.is_false(ok)
        assert.matches("the hook `expire`: policy.lua:2: attempt to perform arithmetic", tostring(why))
        assert.equal("expired", h:orders({ customer = "ann" })[1].status)
    end)
end)

describe("a waiting list", function()
    it("gives a seat that comes free to the first in line who fits, as a hold", function()
        local h = house()
        h:grants("wait 1 ann 2", { place = 1 })
        h:grants("wait 1 bob 1", { place = 2 })
        h:grants("wait 1 cid 1", { place = 3 })
        h:grants "cancel-seat 1 A2"
        assert.equal("ann2 cid1", waiting(h))
        local order = order_of(h, "bob")
        assert.equal("held", order.status)
        assert.equal("A2", order.seats[1].seat)
        assert.equal(h.now + 10 * 60 * 1000, order.expires_at)
        h:grants "cancel-seat 1 A3" -- one seat: cid fits, ann does not
        assert.equal("ann2", waiting(h))
    end)

    it("holds no longer than hold_max, and explain says how long", function()
        local h = house { rows = { "A: ." }, policy = "return policy { hold_max = '20m', wait_ttl = '1h' }" }
        local order = h:grants "wait 1 ann 1"
        assert.equal(h.now + 20 * 60 * 1000, order.expires_at)
        assert.equal(20 * 60 * 1000, h:grants("explain " .. order.order).current_rules[1].wait_ttl_ms)
    end)

    it("goes on to the next when the hold runs out", function()
        local h = house()
        h:grants "wait 1 ann 1"
        h:grants "wait 1 bob 1"
        h:grants "cancel-seat 1 A1"
        h:pass "10m"
        assert.equal("expired", order_of(h, "ann").status)
        assert.equal("held", order_of(h, "bob").status)
        h:pass "10m"
        assert.equal("free", h:status "A1")
        assert.equal("", waiting(h))
    end)

    it("is served by a release, a move, an unblock and an event that opens", function()
        local h = house { events = { "1", "2" }, rows = { "A: xx" } }
        h:grants "wait 1 ann 1"
        h:grants "cancel-seat 1 A1"
        h:grants "wait 1 bob 1"
        h:grants("release " .. order_of(h, "ann").order)
        assert.equal("held", order_of(h, "bob").status)
        h:grants "wait 1 cid 1"
        h:grants "cancel-seat 2 A1"
        h:grants("move " .. order_of(h, "bob").order .. " 1:A1 2:A1")
        assert.equal("held", order_of(h, "cid").status)
        h:grants "wait 1 dan 1"
        h:grants "close-event 1"
        h:grants "cancel-seat 1 A2"
        assert.equal("dan1", waiting(h))
        h:grants "open-event 1"
        assert.equal("", waiting(h))
    end)

    it("gives seats at once to who fits, but not past the line", function()
        local h = house { rows = { "A: ..x" } }
        h:grants("wait 1 ann 2", { status = "held", seats = "A1 A2" })
        h:grants("wait 1 bob 1", { place = 1 })
    end)

    it("keeps to the category and to the rules, whoever they refuse stays in line", function()
        local h = house { rows = { "A gold: xx", "B blue: xx" }, policy = [[
            local rules = require "usher.rules"
            return policy { name = "w", rules = { rules.max_per_customer(1) } }]] }
        h:grants "wait 1 taken 1"
        h:grants "wait 1 ann 1 --category gold"
        h:grants "wait 1 bob 1"
        h:grants "cancel-seat 1 B1"
        assert.equal("taken1 ann1", waiting(h))
        h:grants "cancel-seat 1 A1"
        assert.equal("taken1", waiting(h))
    end)

    it("remembers the codes that came with the wait", function()
        local h = house { policy = [[
            local rules = require "usher.rules"
            return policy { name = "w", rules = { rules.channels { { keys = { "K" }, seats = { "A1..A4" } } } } }]] }
        h:grants "wait 1 ann 1"
        h:grants "wait 1 bob 1 --code K"
        h:grants "cancel-seat 1 A1"
        assert.equal("ann1", waiting(h))
    end)

    it("is nobody else's turn: who joins serves the line without lending it a role or codes", function()
        local h = house { rows = { "A: ....." }, policy = [[
            local rules = require "usher.rules"
            return policy { name = "w", rules = { rules.max_per_customer(2, { exempt = { "box-office" } }) } }]] }
        h:grants("wait 1 bob 5", { place = 1 })
        h:grants("wait 1 zoe 1", { status = "held", user = { roles = { "box-office" } } })
        assert.equal("bob5", waiting(h))
        -- not even to who joins: what it waits for it will take with nobody at the counter
        h:grants("wait 1 eve 3", { place = 2, user = { roles = { "box-office" } } })
    end)

    it("asks the rules that judge it who may join, with what the request says", function()
        local h = house { policy = [[return policy { name = "w", rules = { rule { name = "members",
            on = { "wait" }, exempt = { "box-office" },
            check = function(tx, ask)
                assert(ask.verb == "wait" and ask.command == "wait" and ask.event.id == "1")
                assert(#ask.seats == 0 and #ask.all == 0 and #ask.gains == 0 and ask.order == nil)
                assert(ask.waiting == tx.now and ask.user.access == "client")
                if ask.codes.MEMBER and ask.size < 3 then return true end
                return nil, { message = ("no line for %d of %s"):format(ask.size, ask.customer), hint = "--code" }
            end } } }]] }
        h:refuses("wait 1 ann 2", { rule = "members", message = "no line for 2 of ann", hint = "--code" })
        h:refuses("wait 1 ann 3 --code MEMBER", { rule = "members", message = "no line for 3" })
        h:refuses("wait 1 ann 2", { rule = "members", user = { roles = { "box-office" } } })
        h:grants("wait 1 ann 2 --code MEMBER", { place = 1 })
        h:grants("wait 1 ann 2", { place = 1, already = true }) -- who waits is not asked again
        h:grants "cancel-seat 1 A1"
        h:grants "cancel-seat 1 A2" -- nor who is served, by a rule about waiting alone
        assert.equal("held", order_of(h, "ann").status)
    end)

    it("tells in a dry run what each rule says to who joins", function()
        local h = house { policy = [[local function say(name, granted)
                return rule { name = name, on = { "wait" }, check = function() return granted, "no" end }
            end
            return policy { rules = { say("first", true), say("second", false), function() return true end } }]] }
        local said = {}
        for i, one in ipairs(h:says "wait 1 ann 1") do said[i] = one.rule .. (one.ok and " ok" or " no") end
        assert.same({ "first ok", "second no" }, said)
    end)

    it("asks the rules for a client, whoever frees a seat", function()
        local h = house { policy = [[return policy { name = "w", rules = { function(_, ask)
            if ask.customer == "ann" or ask.user.access ~= "client" then return true end
            return nil, "not by a " .. ask.user.access
        end } }]] }
        h:grants("wait 1 bob 1", { place = 1 })
        h:grants "cancel-seat 1 A1"
        assert.equal("bob1", waiting(h))
        h:grants("wait 1 ann 1", { status = "held" })
    end)

    it("gives who asks anew the order it was served with, until that is confirmed or over", function()
        local h = house { rows = { "A: xxx." } }
        local own = h:grants "hold 1 ann A4" -- no offer: it came from no line
        h:grants("wait 1 ann 1", { place = 1 })
        h:grants "cancel-seat 1 A1"
        local offer = h:grants("wait 1 ann 1", { already = true, status = "held", seats = "A1" })
        assert.not_equal(own.order, offer.order)
        assert.same({}, h:run "waits 1")
        h:grants("confirm " .. offer.order)
        h:grants("wait 1 ann 1", { place = 1 })
        h:grants "cancel-seat 1 A2"
        h:pass "10m"
        assert.equal("expired", h:run("orders --customer ann --status expired")[1].status)
        h:grants("wait 1 ann 1", { status = "held" })
    end)

    it("gives the seats that are left of an offer, not those given back", function()
        local h = house { rows = { "A: xx" } }
        h:grants("wait 1 ann 2", { place = 1 })
        h:grants "cancel-seat 1 A1"
        h:grants "cancel-seat 1 A2"
        h:grants("release " .. order_of(h, "ann").order .. " A1")
        h:grants("wait 1 ann 2", { already = true, status = "held", seats = "A2" })
    end)

    it("drops a round that makes no sense", function()
        local h = house()
        h:grants "set wait::1 false"
        h:pass "1m"
        assert.same({}, h:run "keys wait:")
    end)

    local function wait_of(customer) return { customer = customer, count = 1, at = 0 } end

    it("finds who waits without reading the line, however long it is", function()
        local h = house { policy = [[
            local waiting = require "usher.waiting"
            local function given(tx, req, run)
                local before = tx:used()
                local out = run(tx, req.event)
                return { used = tx:used() - before, out = out }
            end
            local function made(name, run)
                return command { name = name, kind = "transaction", group = "orders", args = { { "event", "event" } },
                    run = function(tx, req) return given(tx, req, run) end }
            end
            return policy { name = "w", commands = {
                made("fill", function(tx, event)
                    local from = tx:get "wait" or 0
                    for i = from + 1, from + 1000 do waiting.join(tx, event, "c" .. i, 1) end
                end),
                made("last", function(tx, event) return waiting.find(tx, event, "c" .. tx:get "wait").customer end),
                made("none", function(tx, event) return waiting.find(tx, event, "nobody") == nil end) } }]] }
        for _ = 1, 20 do h:grants "fill 1" end
        local last = h:grants("last 1", { out = "c20000" })
        assert.truthy(last.used <= 2, last.used)
        local none = h:grants("none 1", { out = true })
        assert.truthy(none.used <= 2, none.used)
        h:grants("wait 1 c20000 1", { already = true, place = 1001 }) -- that or farther back
        h:grants("wait 1 new 1", { place = 1001 })
        h:grants("wait 1 c1001 1", { already = true, place = 1001 })
        h:grants("wait 1 c1000 1", { already = true, place = 1000 })
    end)

    it("finds who joined under an older version, before or meanwhile", function()
        local h = house { kv = { wait = 2, ["wait:1:000000000000"] = wait_of "old",
            ["wait:1:000000000001"] = wait_of "older" } }
        h:grants("wait 1 old 1", { already = true, place = 1 })
        h:grants("wait 1 new 1", { place = 3 })
        h:grants("wait 1 older 1", { already = true, place = 2 })
        h:grants [[set wait:1:000000000003 '{"customer":"meanwhile","count":1,"at":0}']]
        h:grants "set wait 4"
        h:grants("wait 1 meanwhile 1", { already = true, place = 4 })
        h:grants("wait 1 newest 1", { place = 5 })
        for i, who in ipairs { "old", "older", "new", "meanwhile", "newest" } do
            h:grants(("wait 1 %s 1"):format(who), { already = true, place = 1 })
            h:grants((i % 2 == 0 and "unwait 1 " or "forget ") .. who)
            h:refuses("unwait 1 " .. who, { code = "NOTFOUND" })
        end
        assert.same({}, h:run "keys wait:")
        assert.same({}, h:run "keys waitc:")
    end)

    it("knows nobody any more whom an older version has served", function()
        local h = house()
        h:grants "wait 1 ann 1"
        h:grants "set wait:1:000000000000"
        h:refuses("unwait 1 ann", { code = "NOTFOUND" })
        h:grants("wait 1 ann 1", { place = 1 })
        h:grants "unwait 1 ann"
        h:grants "wait 1 bob 1"
        h:grants "set wait:1:000000000002"
        h:grants "forget bob"
        assert.same({}, h:run "keys waitc:")
    end)

    it("forgets where somebody stood with the wait itself: served, or gone with the event", function()
        local h = house()
        h:grants "wait 1 ann 1"
        h:grants "wait 1 bob 1"
        assert.equal(2, #h:run "keys waitc:")
        h:grants "cancel-seat 1 A1"
        assert.equal("held", order_of(h, "ann").status)
        assert.equal(1, #h:run "keys waitc:")
        h:grants "remove-event 1 --cancel-orders"
        assert.same({}, h:run "keys waitc:")
    end)

    it("holds one wait for each customer, can be left, and ends with the event", function()
        local h = house()
        h:grants "wait 1 ann 1"
        h:grants("wait 1 ann 1", { already = true, place = 1 })
        h:refuses("wait 1 ann 2", { code = "CONFLICT", hint = "unwait 1 ann" })
        h:refuses("wait 1 bob 0", { code = "BADARG" })
        h:refuses("wait 1 bob 99", { code = "BADARG", message = "places in all" }) -- it would wait for ever
        h:refuses("wait 1 bob 1 --category none", { code = "NOTFOUND" })
        h:grants "unwait 1 ann"
        h:refuses("unwait 1 ann", { code = "NOTFOUND" })
        h:grants "wait 1 bob 1"
        h:grants "wait 1 cid 1"
        h:grants "forget bob"
        assert.equal("cid1", waiting(h))
        h:grants "remove-event 1 --cancel-orders"
        assert.same({}, h:run "keys wait:")
    end)

    it("ends with the event in parts when it is longer than a transaction can drop", function()
        local h = house { policy = [[return policy { name = "w", commands = { command { name = "fill",
            kind = "transaction", group = "orders", args = { { "key", "string" }, { "from", "int" } },
            run = function(tx, req)
                for i = req.from + 1, req.from + 5000 do tx:set(("%s%06d"):format(req.key, i), { customer = "c" }) end
            end } } }]], rows = { "A: .." } }
        for from = 0, 55000, 5000 do
            h:grants(("fill wait:1: %d"):format(from))
            h:grants(("fill queue:1:c:c %d"):format(from))
        end
        local answer = h:grants("remove-event 1", { removed = false, next = "remove-event 1" })
        assert.truthy(h:event("1"))
        h:refuses("book 1 ann A1", { message = "closed" }) -- nothing begins any more
        for _ = 1, 9 do
            if not answer.removed then answer = h:grants "remove-event 1" end
        end
        assert.is_true(answer.removed)
        assert.same({}, h:run "keys")
    end)

    it("serves a larger party that fits where a smaller one would leave a seat alone", function()
        local h = house { rows = { "A: ..." }, policy = "return policy { name = 'w', best = { orphans = false } }" }
        h:play "o = book 1 zoe A1 A2 A3"
        h:grants "wait 1 ann 2"
        h:grants "wait 1 bob 3"
        h:grants "cancel $o"
        assert.equal("ann2", waiting(h))
        assert.equal(3, #order_of(h, "bob").seats)
    end)

    it("serves seats that have a price where those in front have none", function()
        local h = house { rows = { "B foyer: ....", "A stalls: ...." }, policy = [[
            return policy { name = "w", price = require("usher.rules").price_zones { stalls = 100 } }]] }
        local order = h:grants("wait 1 ann 2", { status = "held" })
        assert.equal("A1", order.seats[1].seat)
    end)

    it("serves areas by their category", function()
        local h = house { rows = { "A: x" }, areas = { { name = "FLOOR", category = "standing", capacity = 2 } } }
        h:grants "book 1 zoe FLOOR*2"
        h:grants "wait 1 ann 2 --category standing"
        h:grants "cancel $zoe"
        assert.equal(2, order_of(h, "ann").seats[1].count)
    end)

    it("serves areas without a category, and where seats of the category are numbered", function()
        local h = house { rows = {}, policy = "lua/policy/festival/policy.lua", areas = {
            { name = "CAMP", category = "camp", capacity = 10 },
            { name = "FIELD", category = "field", capacity = 40 } } }
        -- no ticket for the field, so no camping: the next area is what it gets
        local order = h:grants("wait 1 eve 2", { status = "held" })
        assert.equal("FIELD", order.seats[1].seat)
        local plane = house { rows = { "2 economy: xx|.." }, policy = [[
            local rules = require "usher.rules"
            return policy { name = "w", rules = { rules.overbook { ECONOMY = 110 }, rule { name = "check-in-only",
                on = { "take" }, seat = function() return false end, message = "at check-in" } } }]],
            areas = { { name = "ECONOMY", category = "economy", capacity = 10 } } }
        plane:grants("wait 1 ann 1 --category economy", { status = "held", seats = "ECONOMY" })
        plane:grants("best 1 bob 1 --category economy", { seats = "ECONOMY" })
        plane:grants "book 1 cid ECONOMY*9"
        plane:grants("wait 1 dan 1", { place = 1 }) -- 11 are sold, as many as the rule allows
        plane:grants "cancel $bob"
        assert.equal("held", order_of(plane, "dan").status)
        plane:grants("wait 1 eve 1", { place = 1 })
    end)

    it("prefers numbered seats, and offers an area when there is none", function()
        local h = house { rows = { "A: .x" }, areas = { { name = "FLOOR", capacity = 2 } } }
        h:grants("wait 1 ann 1", { seats = "A1" })
        h:grants("wait 1 bob 2", { seats = "FLOOR" })
        h:grants("wait 1 cid 1", { place = 1 })
        h:grants "cancel-seat 1 A2"
        assert.equal("A2", order_of(h, "cid").seats[1].seat)
    end)

    local NO_ORPHANS = [[return policy { name = "w", rules = { require("usher.rules").no_orphans() } }]]

    it("asks again who is in front when serving those behind has made it possible", function()
        local h = house { rows = { "A: ...." }, policy = NO_ORPHANS }
        h:play "o = book 1 zoe A1..A4"
        h:grants "wait 1 ann 3" -- one seat would be left, until somebody has it
        h:grants "wait 1 bob 1"
        h:grants "cancel $o"
        assert.equal("A1", order_of(h, "bob").seats[1].seat)
        assert.equal(3, #order_of(h, "ann").seats)
        assert.same({}, h:run "keys wait:1")
        assert.same({}, h:run "keys wait::")
    end)

    it("asks again whom that second time makes possible, and does so in rounds", function()
        local h = house { rows = { "A: ........" }, policy = [[
            -- who is "n<k>" may come once k seats are taken; the r... never
            return policy { name = "w", rules = { function(_, ask)
                local after = ask.customer:match "^n(%d)"
                if ask.customer:sub(1, 1) == "r" then return nil, "never" end
                return not after or 8 - ask.event.counts.free >= tonumber(after) or nil, { message = "later" }
            end } }]] }
        h:play "o = book 1 zoe A1..A8"
        for _, who in ipairs { "n3", "n2", "n1" } do h:grants("wait 1 " .. who .. " 1") end
        for i = 1, 250 do h:grants(("wait 1 r%d 1"):format(i)) end
        h:grants "wait 1 bob 1"
        h:grants "cancel $o"
        for _ = 1, 4 do h:pass "1s" end
        for _, who in ipairs { "bob", "n1", "n2", "n3" } do
            assert.equal("held", (order_of(h, who) or {}).status, who)
        end
        assert.equal(250, #h:run "waits 1")
        assert.same({}, h:run "keys wait::")
    end)

    it("lets the command that frees a seat stand when a rule fails while it is served", function()
        local h = house { policy = [[return policy { name = "w", rules = { rule { name = "bad",
            check = function(_, ask) if ask.customer == "ann" then error("broken") end return true end } } }]] }
        h:grants "wait 1 ann 1"
        h:grants "cancel-seat 1 A1"
        assert.equal("free", h:status "A1")
        assert.equal("ann1", waiting(h))
    end)

    -- A full house of one row and a line of `n` that a rule always refuses.
    local function refused_line(n, refuses, options)
        local h = house { rows = { "A: xxxx" }, events = options and options.events, policy = ([[
            return policy { name = "w", rules = { rule { name = "no", check = function(_, ask)
                if ask.customer:sub(1, 1) ~= "r" then return true end
                %s
            end } } }]]):format(refuses) }
        for i = 1, n do h:grants(("wait 1 r%d 1"):format(i)) end
        return h
    end

    it("comes to everybody, however many in front are refused", function()
        local h = refused_line(450, "return nil, 'no'")
        h:grants("wait 1 zoe 1", { place = 451 })
        h:grants "cancel-seat 1 A1"
        assert.equal("free", h:status "A1") -- 200 were asked, the others' turn is next
        assert.equal(0, h:pass "1s") -- no hold was over: serving a line is no expiry
        assert.equal("A1", order_of(h, "zoe").seats[1].seat)
        assert.same({}, h:run "keys wait::") -- the round is over
    end)

    it("goes on behind who was asked last when another seat comes free", function()
        local h = refused_line(250, "return nil, 'no'")
        h:grants "wait 1 yan 1"
        h:grants "wait 1 zoe 1"
        h:grants "cancel-seat 1 A1"
        h:grants "cancel-seat 1 A2"
        assert.equal("held", order_of(h, "yan").status)
        assert.equal("held", order_of(h, "zoe").status)
        h:grants "cancel-seat 1 A3"
        h:pass "1s" -- once around: from there to the end, then those in front
        assert.equal("free", h:status "A3")
        assert.equal(250, #h:run "waits 1")
        assert.same({}, h:run "keys wait::")
    end)

    it("is listed a thousand at a time", function()
        local h = refused_line(1000, "return nil, 'no'")
        assert.equal(1000, #h:run "waits 1")
        h:grants("wait 1 yan 1", { place = 1001 })
        h:grants("wait 1 zoe 1", { place = 1001 }) -- that or farther back
        local list = h:run "waits 1"
        assert.same({ more = true, next = "waits 1 --after 1000" }, list[1001])
        local rest = h:run(list[1001].next)
        assert.equal(2, #rest)
        assert.same({ "yan", 1001 }, { rest[1].customer, rest[1].place })
        assert.equal(0, #h:run "waits 1 --after 1002")
        assert.equal(0, #h:run "waits 1 --after 9999")
        h:refuses("waits 1 --after -1", { code = "BADARG" })
    end)

    it("ends a round with the event it is for", function()
        local h = refused_line(250, "return nil, 'no'", { events = { "1", "2" } })
        h:grants "cancel-seat 1 A1"
        assert.equal(1, #h:run "keys wait::")
        h:grants "close-event 1"
        h:pass "1s"
        assert.same({}, h:run "keys wait::")
        h:grants "open-event 1"
        assert.equal(1, #h:run "keys wait::")
        h:grants "remove-event 1 --cancel-orders"
        assert.same({}, h:run "keys wait:")
    end)

    it("keeps what it has given when asking the rules takes long, and goes on later", function()
        local h = refused_line(0, "for _ = 1, 1000000 do end return nil, 'no'")
        h:grants "wait 1 ann 1"
        for i = 1, 20 do h:grants(("wait 1 r%d 1"):format(i)) end
        h:grants "wait 1 zoe 1"
        h:grants "cancel-seat 1 A1"
        assert.equal("held", order_of(h, "ann").status)
        h:grants "cancel-seat 1 A2"
        h:grants("wait 1 bob 1", { place = 22 })
        h:pass "1s"
        assert.equal("held", order_of(h, "zoe").status)
    end)

    it("gets past a wait for which a rule never ends, and one for which it fails", function()
        for _, rule in ipairs { "while true do end", "error 'broken'" } do
            local h = refused_line(1, rule)
            h:grants "wait 1 zoe 1"
            h:grants "cancel-seat 1 A1"
            h:pass "1s"
            assert.equal("held", order_of(h, "zoe").status)
            h:grants "cancel-seat 1 A2"
            h:grants "wait 1 yan 1"
            h:pass "1s"
            assert.equal("held", order_of(h, "yan").status)
            assert.equal("r11", waiting(h))
        end
    end)

    it("is fair: nobody is served while somebody before them would fit", function()
        local line, store -- as it was before the last step
        local function passed(h)
            local before, now, waits = store == h.store and line or {}, h:run "waits 1", {}
            line, store = now, h.store
            for _, wait in ipairs(now) do waits[wait.customer] = true end
            for i, served in ipairs(before) do
                for k = 1, waits[served.customer] and 0 or i - 1 do
                    if waits[before[k].customer] and before[k].count <= served.count then
                        return before[k].customer .. " was before " .. served.customer
                    end
                end
            end
        end
        test.property {
            policy = "return policy { name = 'w', wait_ttl = '5m' }", rows = { "A: ......", "B: ...." },
            steps = 4000, party = 4,
            actions = { function(_, random)
                return ("wait 1 w%d %d"):format(random:int(1, 30), random:int(1, 4))
            end },
            holds = function(h)
                local who = passed(h)
                if who then return false, who end
                -- Whoever still waits would find no room: the list was served as far as it goes.
                for _, wait in ipairs((h:run "waits 1")) do
                    local ok = h:raw({ "best", "1", "probe", tostring(wait.count), "--dry-run" })
                    if ok then return false, wait.customer .. " waits although there is room" end
                end
            end,
        }
    end)
end)
