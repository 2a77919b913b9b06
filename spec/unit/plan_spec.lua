local plan = require "usher.plan"

--- "A1 A2|A3": labels of a row, an aisle as a bar.
local function row_text(row)
    local out = {}
    for i, seat in ipairs(row.seats) do
        out[i] = seat.label .. (i < #row.seats and (seat.aisle_after and "|" or " ") or "")
    end
    return table.concat(out)
end

local function refusal(source)
    local ok, e = pcall(plan.read, source)
    assert.is_false(ok)
    assert.is_table(e, tostring(e))
    return e
end

describe("seating plans in the short form", function()
    it("keeps rows of numbered seats as numbers", function()
        local p = plan.read { { row = "A", seats = 10 }, { row = "B", seats = 3, first = 11, aisles = { 1 } } }
        assert.same({
            { name = "A", section = "main", seats = 10, first = 1, aisles = {}, category = "default" },
            { name = "B", section = "main", seats = 3, first = 11, aisles = { 1 }, category = "default" },
        }, p.rows)
        assert.same({}, p.areas)
    end)

    it("reads rows in an object, with areas", function()
        local p = plan.read { rows = { { row = "A", seats = 2 } },
            areas = { { name = "FLOOR", capacity = 50, category = "standing" } } }
        assert.equal(1, #p.rows)
        assert.same({ { name = "FLOOR", capacity = 50, category = "standing" } }, p.areas)
    end)

    it("spreads a row out when single seats have flags", function()
        local p = plan.read { { row = "A", seats = 3, accessible = { 1 }, companion = { 2 }, aisles = { 2 } } }
        assert.equal("A1 A2|A3", row_text(p.rows[1]))
        assert.is_true(p.rows[1].seats[1].accessible)
        assert.is_true(p.rows[1].seats[2].companion)
        assert.is_nil(p.rows[1].seats[3].accessible)
    end)

    it("takes a number as a row's name", function()
        assert.equal("7", plan.read({ { row = 7, seats = 1 } }).rows[1].name)
    end)

    it("puts rows of a section together", function()
        local p = plan.read { { row = "A", seats = 1, section = "x" }, { row = "B", seats = 1, section = "y" },
            { row = "C", seats = 1, section = "x" } }
        local names = {}
        for i, row in ipairs(p.rows) do names[i] = row.section .. row.name end
        assert.same({ "xA", "xC", "yB" }, names)
    end)

    it("says what is wrong", function()
        local wrong = {
            ["the house is empty"] = {},
            ["row 1: name is missing"] = { { seats = 4 } },
            ["row A: seats is missing"] = { { row = "A" } },
            ["row A has no seats"] = { { row = "A", seats = 0 } },
            ["row A: seats is a number, not a table"] = { { row = "A", seats = 1.5 } },
            ["row 1: unknown member 'seat'"] = { { row = "A", seat = 4 } },
            ["row A: aisles: there is no seat number 9"] = { { row = "A", seats = 4, aisles = { 9 } } },
            ["row A: first is negative"] = { { row = "A", seats = 4, first = -1 } },
            ["row 1 is a string"] = { "A" },
            ["the plan: unknown member 'row'"] = { row = "A" },
            ["area 1: capacity is missing"] = { areas = { { name = "F" } } },
            ["area 1: wrong capacity"] = { areas = { { name = "F", capacity = 0 } } },
            ["the plan is an integer"] = 5,
        }
        for text, source in pairs(wrong) do
            local e = refusal(source)
            assert.equal("BADARG", e.code)
            assert.truthy(e.message:find(text, 1, true), e.message)
        end
    end)

    it("stops a plan that is too large before it is spread out", function()
        assert.equal("TOOBIG", refusal({ { row = "A", seats = 1000000 }, { row = "B", seats = 1 } }).code)
        assert.equal("TOOBIG", refusal({ { row = "A", seats = math.maxinteger } }).code)
    end)
end)

describe("seating plans in the full form", function()
    local function full()
        return {
            categories = { "gold", "standing" }, tables = { "T1" },
            sections = { { name = "stalls", rows = { { name = "A", category = "gold", seats = {
                "A1", { label = "A2", alias = "x-7", x = 1.5, y = 2, accessible = true, aisle_after = true },
                { label = "A3", table = "T1", restricted = true },
            } } } } },
            areas = { { name = "FLOOR", capacity = 5, category = "standing" } },
        }
    end

    it("keeps everything a seat says", function()
        local p = plan.read(full())
        assert.equal("A1 A2|A3", row_text(p.rows[1]))
        assert.equal("stalls", p.rows[1].section)
        assert.same({ label = "A2", alias = "x-7", x = 1.5, y = 2, accessible = true, aisle_after = true,
            category = "gold" }, p.rows[1].seats[2])
        assert.same({ label = "A3", table = "T1", restricted = true, category = "gold" }, p.rows[1].seats[3])
    end)

    it("refuses names that the plan does not list", function()
        local p = full()
        p.sections[1].rows[1].category = "gild"
        assert.truthy(refusal(p).message:find("category 'gild' is not in", 1, true))
        p = full()
        p.sections[1].rows[1].seats[3].table = "T2"
        assert.truthy(refusal(p).message:find("table 'T2' is not in", 1, true))
    end)

    it("refuses what has no place in it", function()
        local p = full()
        p.sections[1].rows[1].seats[2].colour = "red"
        assert.truthy(refusal(p).message:find("row A, seat 2: unknown member 'colour'", 1, true))
        p = full()
        p.sections[1].rows[1].aisles = { 1 }
        assert.truthy(refusal(p).message:find("each seat says it", 1, true))
        p = full()
        p.sections[1].rows[1].seats[2].accessible = "yes"
        assert.truthy(refusal(p).message:find("accessible is a string, not a boolean", 1, true))
        p = full()
        p.sections[1].name = nil
        assert.truthy(refusal(p).message:find("section 1: name is missing", 1, true))
    end)
end)

describe("pretix plans", function()
    local function seat(number, x, y, more)
        local s = { seat_number = number, position = { x = x, y = y or 0 }, category = "Cat",
            seat_guid = "g" .. number }
        for key, value in pairs(more or {}) do s[key] = value end
        return s
    end

    local function zone(name, rows) return { name = name, position = { x = 5, y = 5 }, rows = rows } end

    it("labels a seat by row and number and keeps its guid as alias", function()
        local p = plan.read { zones = { zone("Parkett", { { row_number = "A", position = { x = 1, y = 1 },
            seats = { seat("1", 0), seat("2", 10), seat("3", 20) } } }) } }
        assert.equal("A1 A2 A3", row_text(p.rows[1]))
        assert.equal("Parkett", p.rows[1].section)
        assert.same({ label = "A2", alias = "g2", category = "Cat", x = 16, y = 6 }, p.rows[1].seats[2])
    end)

    it("takes a gap over 1.5 medians for an aisle", function()
        local p = plan.read { zones = { zone("Z", { { row_number = "A",
            seats = { seat("1", 0), seat("2", 10), seat("3", 24), seat("4", 40), seat("5", 50) } } }) } }
        assert.equal("A1 A2 A3|A4 A5", row_text(p.rows[1]))
    end)

    it("puts seats into physical order whatever the direction of the row", function()
        local p = plan.read { zones = { zone("Z", {
            { row_number = "A", seats = { seat("1", 0), seat("3", 20), seat("2", 10), seat("4", 30) } },
            { row_number = "B", seats = { seat("1", 0, 0), seat("3", 0, -20), seat("2", 0, -10) } },
            { row_number = "C", seats = { seat("1", 30), seat("2", 20), seat("3", 10) } },
        }) } }
        assert.equal("A1 A2 A3 A4", row_text(p.rows[1]))
        assert.equal("B1 B2 B3", row_text(p.rows[2]))
        assert.equal("C1 C2 C3", row_text(p.rows[3]))
    end)

    it("puts the zone before labels that are not unique, and a dash where that is not enough", function()
        local p = plan.read { zones = {
            zone("Left side", { { row_number = "A", seats = { seat("1", 0) } } }),
            zone("Right", { { row_number = "A", seats = { seat("1", 0) } },
                { row_number = "1", seats = { seat("11", 0) } }, { row_number = "11", seats = { seat("1", 0) } } }),
        } }
        local labels = {}
        for i, row in ipairs(p.rows) do labels[i] = row.seats[1].label end
        assert.same({ "Left_side-A1", "Right-A1", "Right-1-11", "Right-11-1" }, labels)
    end)

    it("drops guids that could not be typed", function()
        local p = plan.read { zones = { zone("Z", { { row_number = "A", seats = {
            seat("1", 0, 0, { seat_guid = "a b" }), seat("2", 10, 0, { seat_guid = "-x" }),
            seat("3", 20, 0, { seat_guid = "\xff" }), seat("4", 30, 0, { seat_guid = ("x"):rep(129) }),
            seat("5", 40, 0, { seat_guid = "ok" }) } } }) } }
        local aliases = {}
        for i, s in ipairs(p.rows[1].seats) do aliases[i] = s.alias or "none" end
        assert.same({ "none", "none", "none", "none", "ok" }, aliases)
    end)

    it("leaves out rows without seats and refuses a plan of nothing", function()
        local p = plan.read { zones = { zone("Z", { { row_number = "A", seats = {} },
            { row_number = "B", seats = { seat("1", 0) } } }) } }
        assert.equal(1, #p.rows)
        assert.equal("BADARG", refusal({ zones = {} }).code)
        assert.equal("BADARG", refusal({ zones = { zone("Z", { { row_number = "A" } }) } }).code)
        assert.equal("BADARG", refusal({ zones = { 5 } }).code)
    end)
end)
