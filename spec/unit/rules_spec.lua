-- The parts of usher.rules that are plain computation. How rules judge real seats is tested
-- over the real store, in tests/unit/policy/test_rules.c.
local rules = require "usher.rules"

local function fails(text, f, ...)
    local ok, e = pcall(f, ...)
    assert.is_false(ok)
    assert.truthy(tostring(e):find(text, 1, true), tostring(e))
end

describe("times", function()
    it("are ms since 1970 or UTC text", function()
        for text, ms in pairs {
            ["1970-01-01"] = 0, ["2000-02-29 12:30"] = 951827400000,
            ["2026-05-01T10:00:30Z"] = 1777629630000, ["2100-03-01T00:00"] = 4107542400000,
        } do
            assert.equal(ms, rules.time(text))
        end
        assert.equal(7, rules.time(7))
        assert.equal(rules.time "2024-03-01" - 86400000, rules.time "2024-02-29")
        assert.equal(rules.time "2000-03-01" - 86400000, rules.time "2000-02-29")
        fails("from must be a time that exists", rules.window, { from = "2026-02-31" })
        for _, wrong in ipairs { "", "2026", "2026-13-01", "2026-05-01T", "2026-05-01 25:00",
            "2026-05-01 10:00 x", "2026-05-00", 1.5, true,
            "2026-02-31", "2026-04-31", "2026-02-29", "1900-02-29", "2100-02-29 10:00" } do
            assert.is_nil(rules.time(wrong))
        end
    end)
end)

describe("overbook", function()
    it("exempts nobody and says so: whom it did not concern would have no limit at all", function()
        fails("overbook takes no exempt", rules.overbook, { FLOOR = 110, exempt = { "box-office" } })
        fails("overbook takes no exempt", rules.overbook, { FLOOR = 110 }, { exempt = { "box-office" } })
        fails("overbook: seats must be true or false", rules.overbook, { FLOOR = 110 }, { seats = 1 })
        fails("FLOOR is not a percentage", rules.overbook, { FLOOR = 99 })
    end)
end)

describe("window", function()
    local T = rules.time
    local function judge(rule, at, codes)
        local set = {}
        for _, code in ipairs(codes or {}) do set[code] = true end
        local ok, denial = rule.check({ now = T(at) }, { codes = set })
        return ok or denial.message
    end

    it("opens at its first moment and closes at its last", function()
        local w = rules.window { from = "2026-05-01 10:00", to = "2026-05-02" }
        assert.equal("the sale has not begun", judge(w, "2026-05-01 09:59:59"))
        assert.is_true(judge(w, "2026-05-01 10:00"))
        assert.is_true(judge(w, "2026-05-01 23:59:59"))
        assert.equal("the sale has ended", judge(w, "2026-05-02"))
    end)

    it("asks for a code until the presale ends", function()
        local w = rules.window { from = "2026-05-01", to = "2026-05-02", codes = { "FAN", "CLUB" } }
        assert.equal("the sale has not begun", judge(w, "2026-04-30", { "FAN" }))
        assert.truthy(judge(w, "2026-05-01"):find("presale"))
        assert.truthy(judge(w, "2026-05-01", { "fan" }):find("presale"))
        assert.is_true(judge(w, "2026-05-01", { "X", "CLUB" }))
        assert.is_true(judge(w, "2026-05-02"))
    end)

    it("is checked when it is written", function()
        fails("window: from must be a time that exists, such as", rules.window, { from = "soon" })
        fails("ends before it begins", rules.window, { from = 5, to = 5 })
        fails("codes is a list", rules.window, { codes = {} })
    end)
end)

describe("price zones", function()
    local price = rules.price_zones { stalls = 6500, circle = { 4500, child = 2000 } }

    it("go by category and ticket type", function()
        assert.equal(6500, price(nil, nil, { category = "stalls" }))
        assert.equal(6500, price(nil, nil, { category = "stalls", type = "child" }))
        assert.equal(4500, price(nil, nil, { category = "circle" }))
        assert.equal(2000, price(nil, nil, { category = "circle", type = "child" }))
        assert.equal(7, rules.price_zones { default = 7 }(nil, nil, { category = "x" }))
    end)

    it("refuse what has no price", function()
        local ok, e = pcall(price, nil, nil, { category = "circle", type = "dog" })
        assert.is_false(ok)
        assert.equal("BADARG", e.code)
        ok, e = pcall(price, nil, nil, { category = "x" })
        assert.is_false(ok)
        assert.equal("price_zones", e.rule)
        fails("no whole amount", rules.price_zones, { stalls = 65.5 })
        fails("no whole amount", rules.price_zones, { stalls = { 5, child = -1 } })
        fails("a table is expected", rules.price_zones, 5)
    end)
end)

describe("party", function()
    local event = {}
    local function judge(spec, n)
        local seats = {}
        for i = 1, n do seats[i] = { event = event, count = 1 } end
        local ok, denial = rules.party(spec).check(nil, { seats = seats, size = n, event = event, verb = "take" })
        return ok or denial.message
    end

    it("counts the places of one request", function()
        local spec = { min = 2, max = 6, step = 2 }
        assert.equal("a party of 1 is too small", judge(spec, 1))
        assert.is_true(judge(spec, 2))
        assert.equal("3 seats cannot be taken together here", judge(spec, 3))
        assert.is_true(judge(spec, 6))
        assert.equal("a party of 8 is too large", judge(spec, 8))
        assert.is_true(judge({}, 50))
    end)

    it("is checked when it is written", function()
        fails("party: max must be a whole number, 1 or more", rules.party, { max = 0 })
        fails("max_per_customer: the limit must be a whole number", rules.max_per_customer, "6")
        fails("adjacent: split must be a whole number", rules.adjacent, { split = 0 })
        fails('feasible is "event" or "block"', rules.no_orphans, { feasible = "row" })
    end)
end)

describe("every rule", function()
    it("says what is wrong with its parameters", function()
        fails("there is no parameter 'mx'; it takes at, max, min, step, exempt", rules.party, { mx = 3 })
        fails("hold_cap: there is no parameter 'exemt'; it takes exempt", rules.hold_cap, 2, { exemt = { "x" } })
        fails("party: max is less than min", rules.party, { min = 3, max = 2 })
        fails('party: at is "confirm"', rules.party, { at = "hold" })
        fails("exempt must be a list of roles", rules.party, { exempt = 5 })
        fails("max_per_customer: the limit must be", rules.max_per_customer, 0)
        fails("rules_spec.lua", function() local r = rules.max_per_customer(0) return r end)
        fails("occupancy: give either seats or percent", rules.occupancy, {})
        fails("occupancy: give either seats or percent", rules.occupancy, { seats = 1, percent = 1 })
        fails("occupancy: percent must be", rules.occupancy, { percent = 0 })
        fails("hold_cap: the cap must be", rules.hold_cap, "x")
        fails("rehold: cooldown is needed", rules.rehold, { lifetime = "1h" })
        fails("rehold: cooldown must be a duration", rules.rehold, { cooldown = "soon" })
        fails("no_orphans: aisles must be true or false", rules.no_orphans, { aisles = 1 })
        fails("distance: the distance must be a number above 0", rules.distance, -1)
        fails("distance: same_row must be true or false", rules.distance, 2, { same_row = "yes" })
        fails("companions is a number from 0 to 3", rules.accessible, { companions = 4 })
        fails("accessible: release: companion must be a time", rules.accessible,
            { release = { companion = "later" } })
        fails("a list of channels is expected", rules.channels, {})
        fails("channel 1: keys or roles are needed", rules.channels, { { seats = { "A1" } } })
        fails("channel 1: seats, sections or categories are needed", rules.channels, { { keys = { "K" } } })
        fails("rules_spec.lua", function() local r = rules.channels { { key = "A" } } return r end)
        fails("rules_spec.lua", function() local r = rules.channels { { keys = { "A" } } } return r end)
        fails("'K' is no channel", rules.channels, { { keys = { "K" }, seats = { "A1" } }, K = 5 })
        fails("from, to or codes are needed", rules.window, {})
        fails("the time of code 'FAN' is no time", rules.window, { codes = { FAN = "soon" } })
        fails("whole_tables: shared must be a list of texts", rules.whole_tables, { shared = 5 })
        fails("at is a percentage up to 100", rules.section_order, { at = 120 })
        fails("a table of areas and percentages", rules.overbook, {})
        fails("overbook: FLOOR is not a percentage", rules.overbook, { FLOOR = 90 })
    end)
end)

describe("a list in a rule's parameters", function()
    -- The error is the policy's author's own line.
    local function refuses(text, make, ...)
        local ok, e = pcall(function(...) local made = make(...) return made end, ...)
        assert.is_false(ok)
        assert.matches("rules_spec.lua:%d+: ", tostring(e))
        assert.truthy(tostring(e):find(text, 1, true), tostring(e))
    end

    it("has no hole, which is a misspelt name: what comes behind it would be left out", function()
        local channel = { keys = { "K" }, seats = { "A1" } }
        refuses("channels[2] is nil: is its name right?", rules.channels, { channel, nil, channel })
        refuses("channels[1] is nil", rules.channels, { nil, channel })
        refuses("channels: channel 1: seats[2] is nil: is its name right?", rules.channels,
            { { keys = { "K" }, seats = { "A1", nil, "A3" } } })
        refuses("channels: channel 1: keys[1] is nil", rules.channels, { { keys = { nil, "K" }, seats = { "A1" } } })
        refuses("whole_tables: shared[2] is nil", rules.whole_tables, { shared = { "T1", nil, "T3" } })
        refuses("section_order: sections[2] is nil", rules.section_order, { at = 80, sections = { "a", nil, "c" } })
        refuses("party: exempt[1] is nil", rules.party, { max = 4, exempt = { nil, "box-office" } })
        refuses("window: exempt[2] is nil", rules.window, { from = "-1d", exempt = { "a", nil, "b" } })
        refuses("window: codes[2] is nil", rules.window, { from = "-1d", codes = { "FAN", nil, "CLUB" } })
        refuses("queue: exempt[2] is nil", require("usher.queue").new,
            { opens = "-1d", rate = 5, exempt = { "a", nil, "b" } })
    end)

    it("has no names, and nothing but texts", function()
        refuses("party: exempt has the key 'office': it is a list", rules.party,
            { max = 4, exempt = { "a", office = 1 } })
        refuses("whole_tables: shared has the key 'T2': it is a list", rules.whole_tables,
            { shared = { "T1", T2 = true } })
        refuses("whole_tables: shared[2] is a number, not a text", rules.whole_tables, { shared = { "T1", 2 } })
        refuses("party: exempt must be a list of roles", rules.party, { exempt = {} })
        refuses("party: exempt[1] is an empty text", rules.party, { exempt = "" })
        refuses("channels: channel 1: seats must be a list of texts", rules.channels,
            { { keys = { "K" }, seats = {} } })
        refuses("window: codes is a list of texts", rules.window, { codes = { "FAN", 5 } })
    end)

    it("is checked for channels like for every rule", function()
        local channel = { keys = { "K" }, seats = { "A1" } }
        refuses("channels: exempt[2] is nil", rules.channels, { channel, exempt = { "a", nil, "b" } })
        refuses("channels: exempt must be a list of roles", rules.channels, { channel, exempt = 5 })
        refuses("channels: channel 2: a table of parameters is expected", rules.channels, { channel, "A1" })
        refuses("channels: 'K' is no channel", rules.channels, { channel, K = channel })
        assert.same({ office = true }, rules.channels({ channel, exempt = "office" }).exempt)
    end)
end)

describe("scores", function()
    local scores = require "usher.scores"
    it("are plain data, and checked", function()
        assert.same({ by = "front" }, scores.front())
        assert.same({ by = "focal", x = 1, y = 2 }, scores.focal { x = 1, y = 2 })
        fails("{ y = } or { x =, y = }", scores.focal, {})
        fails("{ y = } or { x =, y = }", scores.focal, { x = "a", y = 1 })
    end)
end)
