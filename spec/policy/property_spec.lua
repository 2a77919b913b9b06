--- The property runner: what FIELD.md's venues promise holds under random customers, and policies
--- that are broken on purpose are caught and shrunk to a few lines.
local test = require "usher.test"

local ROWS = { "A: ....|......", "B: .........." }

-- Never two parties closer than two seats along a row, aisles included.
local function apart(house)
    for _, seat in ipairs(house:seats()) do
        local other = seat.order and seat:next(1, true)
        if other and other.order and other.customer ~= seat.customer then
            return false, seat.label .. " and " .. other.label .. " are side by side"
        end
    end
end

-- Never an orphan, in a house where nobody gives anything back.
local function no_orphan(house)
    for _, seat in ipairs(house:seats()) do
        local left, right = seat:next(-1), seat:next(1)
        if seat.status == "free" and left and right and left.order and right.order then
            return false, seat.label .. " was left alone"
        end
    end
end

local function policy(rules)
    return ('local rules = require "usher.rules"\nreturn policy { rules = { %s } }'):format(rules)
end

-- The report of a property that does not hold: how many lines it was shrunk to, and the text.
local function caught(options)
    local ok, message = pcall(test.property, options)
    assert.is_false(ok, "the broken policy was not caught")
    local text = type(message) == "table" and message.message or message
    return tonumber(text:match("shrunk to (%d+):")), text
end

-- The script that a report prints.
local function script_of(text) return assert(text:match("house:play %[%[\n(.-)\n  %]%]"), text) end

describe("random customers", function()
    it("never sit closer than two seats where the rule says so", function()
        local total = test.property { policy = policy "rules.distance(2, { same_row = true })", rows = ROWS,
            customers = 300, holds = apart }
        assert.truthy(total.granted > 200)
    end)

    it("catch a distance that is only kept by takes: a move gets past it", function()
        local lines, text = caught { rows = ROWS, customers = 3000, holds = apart, policy = [[
            local near = require("usher.rules").distance(2, { same_row = true })
            return policy { rules = { rule { on = { "take" }, seat = near.seat } } }]] }
        assert.truthy(lines <= 3, text)
        assert.truthy(text:find("move $", 1, true), text)
        assert.truthy(text:find("are side by side", 1, true), text)
    end)

    it("catch an orphan rule that looks to one side only", function()
        local broken = [[
            return policy { rules = { function(tx, ask)
                for _, place in ipairs(ask.gains) do
                    local one = place.seat:next(1) -- and who looks to the left?
                    local two = one and one:next(1)
                    if two and ask:status(one) == "free" and ask:status(two) ~= "free" then
                        deny { message = "SEAT would be alone", seat = one }
                    end
                end
                return true
            end } }]]
        local options = { policy = broken, rows = ROWS, customers = 3000, holds = no_orphan }
        local lines, text = caught(options)
        assert.equal(2, lines, text) -- two parties, a seat between them
        -- What is printed shows it again.
        local house = test.house { policy = broken, rows = ROWS }
        house:play(script_of(text))
        assert.is_false(no_orphan(house))
        assert.equal(text, select(2, caught(options)))
    end)

    it("catch a policy that fails, with its line", function()
        local lines, text = caught { rows = ROWS, customers = 3000, holds = function() end, policy = [[
            return policy { rules = { function(_, ask)
                if #ask.seats == 3 then return ask.seats[4].label end
                return true
            end } }]] }
        assert.equal(1, lines, text)
        assert.truthy(text:find("the policy failed: policy.lua:2:", 1, true), text)
    end)

    -- What a granted step was, by what is special about it.
    local function kinds_of(step)
        local out, text = { step.line[1] }, table.concat(step.line, " ")
        local function add(yes, kind) if yes then out[#out + 1] = kind end end
        add((out[1] == "release" or out[1] == "cancel") and #step.line > 2, out[1] .. " a part")
        add(out[1] == "move" and text:find("HALL*", 1, true), "move places of an area")
        add(out[1] == "move" and text:find(" (%S+) %1="), "change a ticket")
        add(out[1] == "move" and text:find(" 1:%S+ 2:") , "move to another event")
        add((out[1] == "hold" or out[1] == "book") and text:find(" 1:") and text:find(" 2:"), "take at two events")
        add(out[1] == "best" and step.line[2]:find(",", 1, true), "best at two events")
        add(text:find("--code SECRET", 1, true), "a code")
        add(step.user.roles, "a role")
        return out
    end

    it("do all that a client can, with codes and roles", function()
        local seen = {}
        test.property { policy = "return policy { name = 'p' }", rows = ROWS, areas = { HALL = 20 },
            events = { "1", "2" }, types = { "child" }, codes = { "SECRET" }, roles = { "box" }, steps = 4000,
            holds = function(_, step)
                assert.equal("client", step.user.access)
                for _, kind in ipairs(kinds_of(step)) do seen[kind] = (seen[kind] or 0) + 1 end
            end }
        for _, kind in ipairs { "hold", "book", "best", "confirm", "extend", "release", "cancel", "move", "pass",
            "split", "swap", "release a part", "cancel a part", "cancel-seat", "wait", "move places of an area",
            "change a ticket", "move to another event", "take at two events", "best at two events", "a code",
            "a role" } do
            assert.truthy((seen[kind] or 0) >= 10, kind .. ": " .. (seen[kind] or 0))
        end
    end)

    it("catch a rule on a party that a split gets past, and one that a role does", function()
        local function alone(house)
            for _, order in ipairs(house:orders { status = "live" }) do
                if #order.seats == 1 then return false, "somebody sits alone" end
            end
        end
        local lines, text = caught { policy = policy "rules.party { min = 2 }", rows = ROWS, customers = 3000,
            holds = function(house, step) if step.line[1] == "split" then return alone(house) end end }
        assert.equal(2, lines, text)
        local house = test.house { policy = policy "rules.party { min = 2 }", rows = ROWS }
        house:play(script_of(text))
        assert.is_false(alone(house))

        local exempt = policy 'rules.party { min = 2, exempt = { "box" } }'
        lines, text = caught { policy = exempt, rows = ROWS, customers = 3000, roles = { "box" },
            holds = function(h, step) if step.line[1] == "book" then return alone(h) end end }
        assert.equal(1, lines, text)
        assert.truthy(text:find("as client box\n", 1, true), text)
        house = test.house { policy = exempt, rows = ROWS }
        house:play(script_of(text))
        assert.is_false(alone(house))
    end)

    it("move no party apart, from event to event", function()
        local function sizes_of(house)
            local sizes = {}
            for _, order in ipairs(house:orders { status = "live" }) do
                for _, place in ipairs(order.seats) do
                    local key = order.order .. " at " .. place.event
                    sizes[key] = (sizes[key] or 0) + 1
                end
            end
            return sizes
        end
        local was, store = {}, nil
        test.property { policy = policy "rules.party { min = 2, max = 4, step = 2 }", rows = ROWS,
            events = { "1", "2" }, customers = 300, holds = function(house, step)
                local before = store == house.store and was or {}
                was, store = sizes_of(house), house.store
                if step.line[1] ~= "move" and step.line[1] ~= "swap" then return end
                for key, n in pairs(was) do -- what was given back before may be no party any more
                    if n ~= before[key] and n ~= 2 and n ~= 4 then return false, key end
                end
            end }
    end)

    it("go on with an order of which a part was given back", function()
        local cut, confirmed = {}, false
        test.property { policy = "return policy { name = 'p' }", rows = ROWS, customers = 300,
            holds = function(_, step)
                if step.line[1] == "release" and #step.line > 2 then cut[step.line[2]] = true end
                confirmed = confirmed or step.line[1] == "confirm" and cut[step.line[2]] or false
            end }
        assert.is_true(confirmed)
    end)
end)
