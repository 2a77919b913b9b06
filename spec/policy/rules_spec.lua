-- Every rule of usher.rules over the real VM and store: what it grants, what it refuses and its
-- edges. (Wrong parameters: spec/unit/rules_spec.lua; the four orphan strengths also in
-- tests/unit/policy/test_rules.c.)
local test = require "usher.test"

local HALL = { "A stalls: ....|......", "B circle: .........." }

-- A policy of these rules; the rest of the options go to test.house.
local function house(rules, options)
    local given = { policy = ([[
        local rules = require "usher.rules"
        return policy { name = "spec", hold_ttl = "15m", hold_max = "2h", rules = { %s } }]]):format(rules) }
    for key, value in pairs(options or {}) do given[key] = value end
    given.rows = given.rows or (not given.charts and HALL or nil)
    return test.house(given)
end

-- A plan with sections.
local SECTIONS = [[{"sections":[{"name":"stalls","rows":[{"name":"A","seats":10}]},
    {"name":"circle","rows":[{"name":"B","seats":10}]},{"name":"balcony","rows":[{"name":"C","seats":10}]}]}]]

local BOX = { user = { roles = { "box-office" } } }

describe("max_per_customer", function()
    it("counts holds and bookings of the event, areas by heads, and gives back what ends", function()
        local h = house("rules.max_per_customer(3)", { areas = { FLOOR = 20 }, events = { "1", "2" } })
        h:grants "hold 1 ann A1 A2"
        h:refuses("book 1 ann FLOOR*2", { code = "LIMIT", rule = "max_per_customer", hint = "1 more" })
        h:grants "book 1 ann FLOOR*1"
        h:refuses("hold 1 ann B1", { hint = "give a seat back" })
        h:grants "hold 2 ann B1"
        h:pass "16m"
        h:grants "book 1 ann B1 B2"
    end)

    it("counts one category when told so", function()
        local h = house('rules.max_per_customer(1, { category = "circle" })')
        h:grants "book 1 ann A1 A2 A3"
        h:grants "book 1 ann B1"
        h:refuses("book 1 ann B2", "max_per_customer")
        h:grants "book 1 ann A5"
    end)

    it("lets an order at the limit move, and no swap get past it", function()
        local h = house("rules.max_per_customer(2)", { events = { "1", "2" } })
        h:play "o = book 1 ann A1 A2\np = book 1 bob A3\nq = book 2 ann A1\nr = book 2 bob A2"
        h:grants "move $o A1 B5"
        h:grants "swap $o A2 $p A3"
        h:refuses("swap $q 2:A1 $p 1:A2", { rule = "max_per_customer", message = "2 are taken already" })
        h:grants "swap $q 2:A1 $r 2:A2"
    end)

    it("lets who lawfully has more than that sit elsewhere, and not take more", function()
        local h = house('rules.max_per_customer(2, { exempt = { "box-office" } })', { events = { "1", "2" } })
        h:grants("book 1 club A1 A2 A3 2:A1", BOX)
        h:play "p = book 1 bob B1"
        h:grants "move $club 1:A3 1:A4"
        h:grants "swap $club 1:A4 $p 1:B1"
        h:refuses("move $club 2:A1 1:B5", "max_per_customer")
        h:grants "move $club 1:A1 2:A2"
    end)

    it("lets more than that move to another category, but not into the one that is counted", function()
        local h = house('rules.max_per_customer(1, { category = "circle", exempt = { "box-office" } })')
        h:grants("book 1 club B1 B2 A1", BOX)
        h:grants "move $club B2 B3"
        h:grants "move $club B3 A2"
        h:refuses("move $club A1 B5", "max_per_customer")
    end)

    it("says in a dry run that a rule does not concern the user, and for which role", function()
        local h = house('rules.max_per_customer(1, { exempt = { "box-office", "agent" } }), rules.party { max = 3 }')
        local desk = { user = { roles = { "box-office" } } }
        assert.same({ { rule = "max_per_customer", event = "1", ok = true, exempt = "box-office" },
            { rule = "party", event = "1", ok = true } }, h:says("hold 1 ann A1 A2", desk))
        local said = h:says("hold 1 ann A1 A2 A3 A4", desk)
        assert.same({ "box-office", false }, { said[1].exempt, said[2].ok })
        assert.is_nil(h:says("hold 1 ann A1")[1].exempt)
        local _, story = pcall(h.grants, h, "hold 1 ann A1 A2 A3 A4", desk)
        assert.truthy(tostring(story):find("ok   max_per_customer: exempt (box-office)", 1, true), story)
    end)

    it("exempts a role", function()
        local h = house('rules.max_per_customer(1, { exempt = { "box-office" } })')
        h:refuses("book 1 ann A1 A2", "max_per_customer")
        h:grants("book 1 ann A1 A2", BOX)
    end)
end)

describe("party", function()
    it("wants a least, a most and a multiple", function()
        local h = house "rules.party { min = 2, max = 6, step = 2 }"
        h:refuses("book 1 ann A1", { rule = "party", message = "too small", hint = "at least 2" })
        h:refuses("book 1 ann B1..B8", { message = "too large" })
        h:refuses("book 1 ann B1..B3", { hint = "multiple of 2" })
        h:grants "book 1 ann A1 A2"
    end)

    it("counts at confirm when told so: a hold may have any size", function()
        local h = house 'rules.party { min = 2, at = "confirm" }'
        h:play "o = hold 1 ann A1"
        h:refuses("confirm $o", { rule = "party" })
        h:refuses("book 1 bob B1", { rule = "party" })
        h:grants "book 1 bob B1 B2"
        h:play "p = hold 1 cid A3 A4"
        h:grants "confirm $p"
    end)

    it("judges a hold again when it is confirmed: some of it may have been given back", function()
        local h = house "rules.party { min = 2 }"
        h:play "o = hold 1 ann A1 A2 A3\nrelease $o A3"
        h:grants "confirm $o"
        h:play "p = hold 1 bob B1 B2\nrelease $p B2"
        h:refuses("confirm $p", { rule = "party", message = "of 1 is too small", hint = "release" })
        h:play "q = hold 1 cid B3 B4\nsplit $q B4"
        h:refuses("confirm $q", "party")
    end)

    it("is not got around by moving places to another event", function()
        local h = house("rules.party { min = 2, max = 4, step = 2 }", { events = { "1", "2" } })
        h:play "o = book 1 ann A1..A4 2:A1 2:A2\np = book 1 bob B1 B2\nq = book 2 cid B1 B2"
        h:refuses("move $p B1 2:B3", { rule = "party", message = "of 1 is too small" })
        h:refuses("move $o 1:A1 2:A3", "party")
        h:refuses("swap $p 1:B1 $q 2:B1", "party")
        h:grants "move $o 1:A1 2:A3 1:A2 2:A4"
        h:refuses("move $o 1:A3 2:B9 1:A4 2:B10", { rule = "party", message = "too large" })
        h:grants "cancel $p B1"
        h:grants "move $p B2 B5" -- as many as it has
    end)

    it("may be of any size while it is held, when told so, and moved", function()
        local h = house('rules.party { min = 2, at = "confirm" }', { events = { "1", "2" } })
        h:play "o = hold 1 ann A1 A2\np = book 1 bob B1 B2"
        h:grants "move $o 1:A1 2:A1"
        h:refuses("move $p 1:B1 2:B1", "party")
    end)
end)

describe("occupancy", function()
    it("caps the places that are taken, areas included", function()
        local h = house("rules.occupancy { seats = 4 }", { areas = { FLOOR = 20 } })
        h:grants "hold 1 ann A1 A2"
        h:grants "book 1 bob FLOOR*1"
        h:refuses("book 1 cid B1 B2", { rule = "occupancy", code = "LIMIT", hint = "1 more" })
        h:grants "book 1 cid B1"
        h:refuses("book 1 dan B2", { message = "4 are taken" })
        h:grants "move $cid B1 B9"
        h:pass "16m"
        h:grants "book 1 dan B2"
    end)

    it("rounds a percentage down", function()
        local h = house "rules.occupancy { percent = 19 }" -- of 20 seats: 3
        h:grants "book 1 ann A1 A2 A3"
        h:refuses("book 1 bob B1", "occupancy")
    end)
end)

describe("hold_cap", function()
    it("counts what is held and not what is booked", function()
        local h = house "rules.hold_cap(2)"
        h:grants "book 1 ann A1 A2 A3"
        h:grants "hold 1 ann B1 B2"
        h:refuses("hold 1 ann B3", { rule = "hold_cap", code = "LIMIT" })
        h:grants "book 1 ann B3"
        h:grants "confirm $ann" -- the newest: a booking already
        h:pass "16m"
        h:grants "hold 1 ann B5 B6"
    end)

    it("lets who lawfully holds more sit elsewhere, and not hold more", function()
        local h = house('rules.hold_cap(2, { exempt = { "box-office" } })', { events = { "1", "2" } })
        h:grants("hold 1 club A1 A2 A3 2:A1", BOX)
        h:grants "move $club 1:A3 1:A4"
        h:refuses("move $club 2:A1 1:B5", "hold_cap")
    end)

    it("does not count what `best` books", function()
        local h = house "rules.hold_cap(2)"
        h:grants "best 1 ann 3 --book"
        h:refuses("best 1 ann 3", { code = "LIMIT" })
        h:grants "best 1 ann 2"
    end)
end)

describe("rehold", function()
    it("keeps a seat that lapsed from the same customer until the cooldown is over", function()
        local h = house 'rules.rehold { cooldown = "10m" }'
        h:play "o = hold 1 ann A1 A2"
        h:grants "release $o"
        h:refuses("hold 1 ann A2 A3", { rule = "rehold", seat = "A2", code = "LIMIT" })
        h:grants "hold 1 bob A2 A3"
        h:grants "hold 1 ann B1"
        h:grants "book 1 ann A1"
        h:pass "9m"
        h:refuses("hold 1 ann A4 A1", { code = "TAKEN" })
        h:grants "cancel-seat 1 A1"
        h:pass "1m"
        h:grants "hold 1 ann A1"
    end)

    it("judges what expired from the time it expired", function()
        local h = house 'rules.rehold { cooldown = "10m" }'
        h:grants "hold 1 ann A1 --ttl 5m"
        h:pass "6m"
        h:refuses("hold 1 ann A1", "rehold")
        h:pass "10m"
        h:grants "hold 1 ann A1"
    end)

    it("lets a seat be held again within its lifetime, and no longer", function()
        local h = house 'rules.rehold { cooldown = "10m", lifetime = "30m" }'
        h:grants "hold 1 ann A1 --ttl 10m"
        h:pass "11m"
        h:grants "hold 1 ann A1 --ttl 10m" -- until minute 21
        h:pass "11m"
        h:refuses("hold 1 ann A1 --ttl 10m", { rule = "rehold", hint = "--ttl" }) -- would be 32
        h:grants "hold 1 ann A1 --ttl 8m" -- exactly 30
        h:pass "8m"
        h:refuses("hold 1 ann A1 --ttl 1m", "rehold")
        h:pass "10m"
        h:grants "hold 1 ann A1 --ttl 10m"
    end)

    it("ends a hold's lifetime, however it is made longer", function()
        local h = house('rules.rehold { cooldown = "5m", lifetime = "15m" }')
        h:grants "hold 1 ann A1 --ttl 8m"
        h:pass "8m"
        h:play "o = hold 1 ann A1 --ttl 7m" -- until minute 15
        h:pass "6m" -- longer ago than the cooldown: the seat has been held all the same
        h:refuses("extend $o --ttl 9m", { rule = "rehold", seat = "A1", code = "LIMIT", hint = "at most 60 s" })
        h:grants "extend $o --ttl 1m"
        h:play "p = hold 1 ann A3 --ttl 1m"
        h:grants "extend $p --ttl 29m" -- never given up: hold_max is its limit
    end)

    it("counts a seat that was given back alone, out of a hold that goes on", function()
        local h = house 'rules.rehold { cooldown = "10m" }'
        h:play "o = hold 1 ann A1 A2 A3"
        h:grants("release $o A1", { status = "held", seats = "A2 A3" })
        h:refuses("hold 1 ann A1", { rule = "rehold", seat = "A1" })
        h:grants "cancel-seat 1 A2"
        h:refuses("hold 1 ann A2", { rule = "rehold", seat = "A2" })
        h:grants "hold 1 bob A1"
        assert.equal("held", h:order("o").status)
        h:pass "10m"
        h:grants "hold 1 ann A2"
    end)

    it("looks at all the customer's orders, however many", function()
        local h = house('rules.rehold { cooldown = "10m" }', { areas = { FLOOR = 20 } })
        for _ = 1, 1000 do
            h:run "hold 1 ann FLOOR*1"
            h:run "release $ann"
        end
        h:grants "hold 1 ann A1"
        h:grants "release $ann"
        h:refuses("hold 1 ann A1", { rule = "rehold", seat = "A1" })
    end)
end)

describe("best and the time that a hold lasts", function()
    it("looks past a seat that may not be held for so long", function()
        local h = house 'rules.rehold { cooldown = "10m", lifetime = "30m" }'
        local first = h:grants "best 1 ann 1 --ttl 10m".seats[1].seat
        h:pass "11m"
        assert.equal(first, h:grants "best 1 ann 1 --ttl 10m".seats[1].seat) -- until minute 21
        h:pass "11m"
        assert.not_equal(first, h:grants "best 1 ann 1 --ttl 10m".seats[1].seat) -- would be 32
    end)
end)

describe("no_orphans", function()
    it("never leaves a single seat, without options", function()
        local h = house "rules.no_orphans()"
        h:refuses("book 1 ann A2", { rule = "no_orphans", seat = "A1" })
        h:refuses("book 1 ann A3", { seat = "A4" }) -- an aisle is no neighbour
        h:grants "book 1 ann A1 A2"
        h:refuses("book 1 bob B2..B10", { seat = "B1" })
    end)

    it("allows one at an aisle or a row's end with aisles", function()
        local h = house "rules.no_orphans { aisles = true }"
        h:grants "book 1 ann A2" -- A1 at the end
        h:grants "book 1 bob A6" -- A5 beside the aisle
        h:refuses("book 1 cid B3 B5", { seat = "B4" })
    end)

    it("allows what nothing of that size avoids", function()
        local h = house('rules.no_orphans { feasible = "event" }', { rows = { "A: ...", "B: ...." } })
        h:refuses("book 1 ann A1 A2", { seat = "A3", alternative = { "B1", "B2" } })
        h:grants "book 1 ann B1..B4"
        h:grants "book 1 bob A1 A2"
    end)

    it("looks for a choice in the section only, with block", function()
        local h = house('rules.no_orphans { feasible = "block" }', { charts = { house = [[{"sections":[
            {"name":"s","rows":[{"name":"A","seats":3}]},{"name":"t","rows":[{"name":"B","seats":4}]}]}]] } })
        h:grants "book 1 ann A1 A2" -- only A1-A2 and A2-A3 are there, and both leave one
        h:refuses("book 1 bob B2 B3", { rule = "no_orphans" })
    end)

    it("counts an order's own seats as one party and does not mind what was alone before", function()
        local h = house("rules.no_orphans()", { rows = { "A: x.x.......x" } })
        h:grants "book 1 ann A4 A5"
        h:refuses("book 1 bob A7", { seat = "A6" })
        h:grants "book 1 bob A2"
    end)

    it("judges a move by what it gives up, too", function()
        local h = house("rules.no_orphans()", { rows = { "A: ....", "B: ......" } })
        h:play "o = book 1 ann A1 A2\np = book 1 bob A3 A4"
        h:refuses("move $o A2 B1", { rule = "no_orphans", seat = "A2" })
        h:grants "move $o A1 B1 A2 B2"
        h:grants "swap $o B1 $p A3"
    end)

    it("does not mind what is alone already when seats are exchanged", function()
        local h = house("rules.no_orphans()", { rows = { "A: ...." } })
        h:play "o = book 1 ann A1 A2\np = book 1 bob A3 A4"
        h:grants "cancel $o A2"
        h:grants "swap $o A1 $p A3"
    end)
end)

describe("adjacent", function()
    it("wants one block of neighbours, or as many as split says", function()
        local h = house "rules.adjacent()"
        h:grants "book 1 ann A2 A1 A3"
        h:refuses("book 1 bob A4 A5", { rule = "adjacent", seat = "A5", alternative = { "A5", "A6" } })
        h:refuses("book 1 bob B1 B3", { seat = "B3" })
        local two = house "rules.adjacent { split = 2 }"
        two:grants "book 1 bob A4 A5"
        two:refuses("book 1 cid A1 B1 B3", { message = "more than 2 blocks" })
    end)
end)

describe("adjacent, at confirm", function()
    it("looks at what is left of the hold", function()
        local h = house "rules.adjacent()"
        h:play "o = hold 1 ann A1 A2 A3\nrelease $o A2"
        h:refuses("confirm $o", { rule = "adjacent", seat = "A3" })
        h:grants "release $o A3"
        h:grants "confirm $o"
    end)
end)

describe("distance", function()
    it("passes at exactly the distance, in seats along the row", function()
        local h = house "rules.distance(3, { same_row = true })"
        h:grants "book 1 ann B4"
        h:refuses("book 1 bob B6", { rule = "distance", seat = "B6" })
        h:grants "book 1 bob B7"
        h:grants "book 1 cid A4" -- another row
        h:refuses("book 1 dan A5", "distance") -- aisles do not make it longer
    end)

    it("ignores the customer's own seats and blocked ones", function()
        local h = house("rules.distance(2, { same_row = true })", { rows = { "A: .....#.." } })
        h:grants "book 1 ann A1 A2"
        h:grants "book 1 ann A3"
        h:grants "book 1 bob A7"
        h:refuses("book 1 bob A4", "distance")
    end)

    it("measures across rows, by the chart's coordinates where it has them", function()
        local h = house "rules.distance(2)"
        h:grants "book 1 ann A4"
        h:refuses("book 1 bob B5", "distance") -- 1.41
        h:grants "book 1 bob B6" -- 2.24
        local xy = house("rules.distance(1.5)", { charts = { house = [[{"rows":[{"name":"A","seats":[
            {"label":"A1","x":1,"y":1},{"label":"A2","x":2.5,"y":1},{"label":"A3","x":3.9,"y":1}]}]}]] } })
        xy:grants "book 1 ann A1"
        xy:grants "book 1 bob A2"
        xy:refuses("book 1 cid A3", "distance")
    end)
end)

describe("accessible", function()
    local ROWS = { "A: wccc..", "B: ......" }

    it("keeps accessible seats for their ticket and companion seats for company", function()
        local h = house("rules.accessible { companions = 2 }", { rows = ROWS })
        h:refuses("book 1 ann A1", { rule = "accessible", seat = "A1", hint = "A1=wheelchair" })
        h:refuses("book 1 ann A2", { seat = "A2", message = "companions" })
        h:refuses("book 1 ann A1=wheelchair A2 A3 A4", { rule = "accessible" })
        h:grants "book 1 ann A1=wheelchair A2 A3"
        h:grants "book 1 bob A5 A6"
    end)

    it("lets no company be booked whose wheelchair place was given back", function()
        local h = house("rules.accessible { companions = 3 }", { rows = ROWS })
        h:play "o = hold 1 ann A1=wheelchair A2 A3 A4\nrelease $o A1"
        h:refuses("confirm $o", { rule = "accessible", message = "companions" })
        h:grants "release $o A2 A3 A4"
        h:play "p = hold 1 bob A1=wheelchair A2"
        h:grants "confirm $p"
    end)

    it("opens in stages before the event starts", function()
        local h = house([[rules.accessible { release = { companion = "-48h", accessible = "-2h" } }]], { rows = ROWS,
            now = "2026-05-01 12:00", events = { ["1"] = { attributes = { start = "2026-05-04 20:00" } } } })
        h:refuses("book 1 ann A2", "accessible")
        h:at "2026-05-02 20:00"
        h:grants "book 1 ann A2"
        h:refuses("book 1 bob A1", "accessible")
        h:at "2026-05-04 18:00"
        h:grants "book 1 bob A1"
    end)

    it("says that the event lacks its start", function()
        local h = house([[rules.accessible { release = { accessible = "-2h" } }]], { rows = ROWS })
        h:refuses("book 1 ann A1", { code = "CONFLICT", hint = "set-event" })
        h:grants "book 1 ann B1"
    end)

    it("keeps best away from them", function()
        local h = house("rules.accessible()", { rows = { "A: wc", "B: .." } })
        h:grants("best 1 ann 2", { seats = "B1 B2" })
        h:refuses("best 1 bob 2", { rule = "accessible", code = "DENIED" })
    end)
end)

describe("channels", function()
    it("opens seats, ranges, sections and categories by key, role and time", function()
        local h = house([[rules.channels {
            { keys = { "ACME" }, seats = { "A1", "A5..A7" }, release = "2026-05-02" },
            { roles = { "box-office" }, categories = { "circle" } },
            { keys = { "PRESS" }, seats = { "A1" } } }]], { now = "2026-05-01" })
        h:refuses("book 1 ann A1", { rule = "channels", seat = "A1", hint = "--code" })
        for _, seat in ipairs { "A5", "A6", "A7" } do
            h:refuses("book 1 ann A4 " .. seat, { seat = seat })
        end
        h:grants "book 1 ann A4"
        h:grants "book 1 ann A1 --code PRESS"
        h:grants "book 1 ann A6 --code ACME"
        h:refuses("book 1 bob B1 --code ACME", { seat = "B1" })
        h:grants("book 1 bob B1", BOX)
        h:at "2026-05-02"
        h:grants "book 1 cid A5 A7"
    end)

    it("keep areas, by their name and by their category", function()
        local h = house([[rules.channels {
            { keys = { "FAN" }, categories = { "standing" }, release = "2026-05-02" },
            { roles = { "box-office" }, seats = { "PIT" } } }]], { now = "2026-05-01",
            areas = { { name = "FLOOR", category = "standing", capacity = 9 }, { name = "PIT", capacity = 9 } } })
        h:refuses("book 1 ann A1 FLOOR*2", { rule = "channels", seat = "FLOOR", hint = "--code",
            message = "FLOOR is kept for another channel" })
        h:refuses("best 1 ann 2 --category standing", "channels")
        h:refuses("book 1 ann PIT*1 --code FAN", { rule = "channels", seat = "PIT" })
        h:grants "book 1 ann A1 FLOOR*2 --code FAN"
        h:grants("book 1 bob PIT*1", BOX)
        h:grants "wait 1 cid 1 --category standing"
        assert.is_nil(h:order "cid")
        h:at "2026-05-02"
        h:grants "best 1 dan 2 --category standing"
        h:grants "move $dan FLOOR*1 A2"
        h:refuses("move $dan A2 PIT*1", "channels")
    end)

    it("filters best, and move takes a code", function()
        local h = house [[rules.channels { { keys = { "K" }, categories = { "stalls" } } }]]
        h:grants("best 1 ann 2", { seats = "B5 B6" })
        h:grants("best 1 bob 2 --code K", { seats = "A5 A6" })
        h:refuses("move $ann B5 A1", "channels")
        h:grants "move $ann B5 A1 --code K"
    end)
end)

describe("window", function()
    it("sells from its first moment to before its last", function()
        local h = house([[rules.window { from = "-2d", to = "-1h" }]], { now = "2026-05-01",
            events = { ["1"] = { attributes = { start = "2026-05-10 20:00" } } } })
        h:refuses("book 1 ann A1", { rule = "window", message = "not begun" })
        h:at "2026-05-08 20:00"
        h:grants "book 1 ann A1"
        h:at "2026-05-10 19:00"
        h:refuses("book 1 ann A2", { message = "ended" })
    end)

    it("lets each code in at its own time, and everybody in the end", function()
        local h = house([[rules.window { to = "2026-05-03", codes = { GOLD = "2026-05-01", FAN = "2026-05-02" } }]],
            { now = "2026-04-30" })
        h:refuses("book 1 ann A1 --code GOLD", "window")
        h:at "2026-05-01"
        h:grants "book 1 ann A1 --code GOLD"
        h:refuses("book 1 bob A2 --code FAN", "window")
        h:at "2026-05-02"
        h:grants "book 1 bob A2 --code FAN"
        h:refuses("book 1 cid A3", { hint = "--code" })
        h:at "2026-05-03"
        h:grants "book 1 cid A3"
    end)
end)

describe("whole_tables", function()
    local TABLES = { charts = { house = [[{"rows":[{"name":"T","seats":[
        {"label":"T1a","table":"T1"},{"label":"T1b","table":"T1"},{"label":"T1c","table":"T1"},
        {"label":"T2a","table":"T2"},{"label":"T2b","table":"T2"},{"label":"bar"}]}]}]] } }

    it("sells a table whole or seat by seat", function()
        local h = house('rules.whole_tables { shared = { "T2" } }', TABLES)
        h:refuses("book 1 ann T1a T1b", { rule = "whole_tables", alternative = { "T1a", "T1b", "T1c" } })
        h:grants "book 1 ann T1a T1b T1c"
        h:grants "book 1 bob T2b"
        h:grants "book 1 bob bar"
    end)

    it("books no half of a table whose other half was given back", function()
        local h = house("rules.whole_tables()", TABLES)
        h:play "o = hold 1 ann T1a T1b T1c T2a T2b\nrelease $o T1b"
        h:refuses("confirm $o", { rule = "whole_tables", message = "T1", hint = "release" })
        h:grants "release $o T1a T1c"
        h:grants "confirm $o"
    end)

    it("does not let a move break a table", function()
        local h = house("rules.whole_tables()", TABLES)
        h:play "o = book 1 ann T2a T2b"
        h:refuses("move $o T2a bar", "whole_tables")
    end)
end)

describe("section_order", function()
    it("opens the next section when the one before is sold to so many percent", function()
        local h = house("rules.section_order { at = 80 }", { charts = { house = SECTIONS } })
        h:grants "book 1 ann A1..A7"
        h:refuses("book 1 bob B1", { rule = "section_order", seat = "B1" })
        h:grants "book 1 bob A8"
        h:grants "book 1 bob B1"
        h:refuses("book 1 bob C1", "section_order")
    end)

    it("opens it for a party that finds no room in the one before", function()
        local h = house("rules.section_order { at = 100 }", { charts = { house = SECTIONS } })
        h:grants "book 1 ann A1..A8"
        h:refuses("book 1 bob B1 B2", "section_order")
        h:grants "book 1 bob B1 B2 B3"
        h:grants("best 1 cid 4", { seats = "B4 B5 B6 B7" })
        h:grants("best 1 cid 2", { seats = "A9 A10" })
    end)

    it("goes by its own list and leaves other sections open", function()
        local h = house('rules.section_order { at = 50, sections = { "balcony", "stalls" } }',
            { charts = { house = SECTIONS } })
        h:refuses("book 1 ann A1", "section_order")
        h:grants "book 1 ann B1"
        h:grants "book 1 ann C1..C5"
        h:grants "book 1 ann A1"
    end)
end)

describe("overbook", function()
    it("lets areas exceed their capacity by so many percent and nothing else", function()
        local h = house("rules.overbook { ECONOMY = 110 }", { areas = { ECONOMY = 10, BUSINESS = 2 } })
        h:grants "book 1 ann ECONOMY*10"
        h:refuses("book 1 bob ECONOMY*2", { rule = "overbook", code = "LIMIT", hint = "1 more" })
        h:grants "book 1 bob ECONOMY*1"
        h:refuses("book 1 cid ECONOMY*1", { message = "11 are taken" })
        h:refuses("book 1 cid BUSINESS*3", { rule = "overbook" })
        h:grants "book 1 cid BUSINESS*2"
        h:grants "cancel $ann ECONOMY*1"
        h:grants "book 1 dan ECONOMY*1"
    end)

    it("counts the numbered seats of an area's category when told so", function()
        local h = house("rules.overbook({ E = 110 }, { seats = true })", { rows = { "1 economy: ....", "2: .." },
            areas = { { name = "E", category = "economy", capacity = 10 } } })
        h:play "o = book 1 ann E*8"
        h:grants "book 1 bob 11 12"
        h:refuses("book 1 cid E*2", { rule = "overbook", message = "10 are taken", hint = "1 more" })
        h:grants "move $o E*1 13" -- the same number of people
        h:grants "book 1 cid E*1"
        h:refuses("book 1 dan 14", { rule = "overbook", message = "11 are taken" })
        h:grants "book 1 dan 21"
    end)

    it("lets a move into an overbooked area, too", function()
        local h = house("rules.overbook { E = 150 }", { areas = { E = 2, B = 2 } })
        h:grants "book 1 ann E*2"
        h:play "o = book 1 bob B*2"
        h:grants "move $o B*1 E*1"
        h:refuses("move $o B*1 E*1", "overbook")
    end)
end)

describe("a move of an order of several events", function()
    local START = { ["1"] = { attributes = { start = "2026-05-01 20:00" } },
        ["2"] = { attributes = { start = "2026-05-03 20:00" } } }

    it("is judged at the events it touches: one may have begun", function()
        local h = house('rules.window { to = "-0s" }', { events = START, now = "2026-05-01" })
        h:play "o = book 1 ann A1 2:A1\np = book 2 bob B1"
        h:at "2026-05-01 21:00"
        h:grants "move $o 2:A1 2:A2"
        h:grants "swap $o 2:A2 $p 2:B1"
        h:refuses("move $o 1:A1 1:A2", "window")
        h:refuses("move $o 2:B1 1:A2", "window")
    end)

    it("is judged where a ticket changes, too, and where a swap only takes away", function()
        local h = house("rules.accessible()", { rows = { "A: w...", "B: w..." }, events = { "1", "2" } })
        h:play "o = book 1 ann 1:A2 2:A1=wheelchair"
        h:refuses("move $o 2:A1 2:A1=adult", { rule = "accessible", seat = "A1" })
        h = house('rules.window { to = "-0s" }', { events = START, now = "2026-05-01" })
        h:play "o = book 1 ann A1 2:A1\np = book 2 bob B1"
        h:at "2026-05-01 21:00"
        h:refuses("swap $o 1:A1 $p 2:B1", "window")
    end)

    it("is judged where the order stays when nothing changes there, and by what a place comes with", function()
        local policy = [[
            local looks = rule { name = "looks", on = { "reseat" }, check = function(_, ask)
                return nil, "at " .. ask.event.id
            end }
            local drop = command { name = "drop", group = "orders", kind = "transaction", access = "client",
                summary = "Keep the first place", example = "drop 7H2K", args = { { "order", "order" } },
                run = function(tx, req) return tx:reseat(req.order, { req.order.seats[1] }) end }
            return policy { rules = { looks }, commands = { drop } }]]
        local h = test.house { policy = policy, rows = HALL, events = { "1", "2" } }
        h:play "o = book 1 ann A1 2:A1"
        h:refuses("drop $o", { rule = "looks", message = "at 1" }) -- as it was there, and nowhere else
        h:play "p = book 1 bob B1"
        h:refuses('move $p B1 {"seat":"B1","data":{"legs":2}}', { rule = "looks", message = "at 1" })
    end)
end)

describe("rules together", function()
    it("name an alternative only when every rule grants it", function()
        local h = house 'rules.no_orphans(), rules.channels { { keys = { "K" }, seats = { "B1..B8" } } }'
        h:refuses("book 1 ann A2", { rule = "no_orphans", alternative = { "A1" } })
        h:grants "book 1 zoe A1..A4"
        h:grants "book 1 zoe A5..A10"
        local other = house('rules.no_orphans(), rules.channels { { keys = { "K" }, seats = { "B1" } } }',
            { rows = { "A: ..", "B: ...." } })
        other:refuses("book 1 ann A1", { rule = "no_orphans", alternative = { "B4" } }) -- not B1
        h:refuses("book 1 ann B9", { rule = "no_orphans", alternative = { "B10" } })
    end)

    it("tell who would leave the seat alone that it gives up to keep it", function()
        local h = house("rules.no_orphans()", { rows = { "A: ...", "B: ." } })
        h:play "o = book 1 ann A1 A2 A3"
        h:refuses("move $o A2 B1", { rule = "no_orphans", seat = "A2", hint = "keep A2, or sit elsewhere" })
    end)

    it("name no alternative that has no price", function()
        local h = test.house { rows = { "A cheap: .....", "B: ....." }, policy = [[
            local rules = require "usher.rules"
            local zones = rules.price_zones { default = 10, cheap = { 10, child = 5 } }
            return policy { name = "p", rules = { rules.no_orphans() }, price = function(tx, ask, place)
                if ask.customer == "eve" and place.label == "A3" then deny "not for you" end
                return zones(tx, ask, place)
            end } ]] }
        h:refuses("book 1 ann A2", { rule = "no_orphans", alternative = { "A3" } })
        h:refuses("book 1 eve A2", { rule = "no_orphans", alternative = { "A1" } })
        h:refuses("book 1 ann A2=child", { rule = "no_orphans", alternative = { "A3=child" } })
        h:refuses("book 1 eve A2=child", { rule = "no_orphans", alternative = { "A1=child" } })
        assert.is_nil(h:refuses("book 1 ann A2=student", { rule = "no_orphans" }).alternative)
    end)

    it("do not deadlock best: it finds what they grant", function()
        local h = house("rules.no_orphans { aisles = true }, rules.adjacent(), rules.max_per_customer(4)",
            { rows = { "A: x.x.x.x.x.x.", "B: x..x..x..x", "C: .....|....." } })
        h:grants("best 1 ann 3", { seats = "C3 C4 C5" })
        h:grants("best 1 bob 2", { seats = "B5 B6" })
        h:grants("best 1 cid 1", { seats = "A6" })
    end)

    it("say which of them left best no choice", function()
        local h = house "rules.max_per_customer(2), rules.no_orphans()"
        h:refuses("best 1 ann 3", { rule = "max_per_customer", code = "LIMIT", message = "at most 2" })
    end)

    it("answer best with the denial of the one that refused everything", function()
        local h = house("rules.max_per_customer(2)")
        h:grants "book 1 ann A1 A2"
        h:refuses("best 1 ann 1", { rule = "max_per_customer", code = "LIMIT", hint = "give a seat back" })
        local mixed = house [[function(_, ask) return ask.seats[1].row.name == "A" or nil, "not there" end,
            rules.max_per_customer(2)]]
        mixed:refuses("best 1 ann 3", { code = "DENIED", message = "the rules leave no choice for 3" })
    end)

    it("do not blame a rule for seats where another refused the blocks", function()
        local h = house [[rules.channels { { keys = { "K" }, categories = { "circle" } } },
            rules.max_per_customer(2)]]
        h:refuses("best 1 ann 3", { rule = "max_per_customer", code = "LIMIT" })
        local closed = house [[rules.channels { { keys = { "K" }, categories = { "circle", "stalls" } } }]]
        closed:refuses("best 1 ann 3", { rule = "channels", code = "DENIED", message = "channels refuses most" })
    end)
end)
