--- Random customers play against a policy while a stated property is watched; what breaks it
--- is shrunk to few steps and printed as a script that shows it again.
---
--- A run is many houses, one after another: each is filled until little is free or `length`
--- steps are over. After every step that changed something `holds` is asked. Beside it two
--- things are always watched: no answer may be INTERNAL (a mistake in the policy), and the
--- store's own invariants hold at the end of each house.
local customers = require "usher.test.customers"
local house_of = require "usher.test.house"
local words = require "usher.test.words"
local Random = require "usher.test.random"

--- run_with  customers and seed of every property, whatever its spec says (`usher policy test
---           --customers N --seed N`); each then tells what it played
local M = { run_with = {} }

local KEYS = { holds = true, steps = true, customers = true, length = true, party = true, types = true,
    actions = true, name = true, codes = true, roles = true }

-- Why the property does not hold, or nil.
local function broken(holds, house, step)
    local function judge(ok, ...)
        if not ok then return tostring((...)) end
        if select("#", ...) == 0 then return nil end
        local fine, why = ...
        if fine then return nil end
        return why and tostring(why) or "holds() said no"
    end
    return judge(pcall(holds, house, step))
end

-- What gives back or only asks for more time: no rule looks at what becomes of the order.
local UNJUDGED = { release = true, cancel = true, ["cancel-seat"] = true, split = true, extend = true }

-- One step as `holds` is told of it, with the order that its number stands for; nil when it was
-- refused, and then why it must not be so.
local function play_step(house, step)
    local done = { line = step.line, user = step.user, judged = {} }
    if step.line[1] == "pass" then
        house:pass(step.line[2])
        return done
    end
    local ok, answer, one, two = house:raw({ table.unpack(step.line) }, step.user)
    if not ok and house_of.is_unknown(answer, one) then return nil, one end
    if not ok then return nil, answer == "INTERNAL" and "the policy failed: " .. one or nil end
    done.order = house_of.made_by(step.line[1], one, two)
    house.named[tostring(step.number)] = done.order
    if UNJUDGED[step.line[1]] or answer:find('"already":true', 1, true) then return done end
    for _, id in ipairs { one, two } do
        if id ~= "" then table.insert(done.judged, id) end
    end
    return done
end

-- Plays steps on a house; the reason when the property breaks. `seen` is told of every order.
local function replay(house, steps, holds, seen)
    house_of.fill(house)
    for _, step in ipairs(steps) do
        local done, mistake = play_step(house, step)
        if mistake then return mistake end
        if done then
            if done.order and seen then seen(step, done.order) end
            local why = broken(holds, house, done)
            if why then return why end
        end
    end
end

-- ---- Shrinking ---------------------------------------------------------------------------------

-- Leaves out ever smaller pieces as long as it still breaks.
local function drop_steps(steps, breaks)
    local size = #steps // 2
    while size >= 1 do
        local at, any = 1, false
        while at <= #steps do
            local rest = {}
            for i, step in ipairs(steps) do
                if i < at or i >= at + size then rest[#rest + 1] = step end
            end
            if #rest < #steps and breaks(rest) then
                steps, any = rest, true
            else
                at = at + size
            end
        end
        if not any or size > 1 then size = size // 2 end
    end
    return steps
end

local function with_line(step, line) return { number = step.number, line = line, user = step.user } end

-- Takes words off the ends of commands: fewer seats, no options.
local function drop_words(steps, breaks)
    for i, step in ipairs(steps) do
        local k = #step.line
        while k > 3 do
            local line = { table.unpack(step.line) }
            local words_of_it = line[k - 1]:find("^%-%-") and 2 or 1 -- an option goes with its value
            for _ = 1, words_of_it do table.remove(line, k + 1 - words_of_it) end
            local changed = { table.unpack(steps) }
            changed[i] = with_line(step, line)
            if breaks(changed) then
                steps, step = changed, changed[i]
            end
            k = k - words_of_it
        end
    end
    return steps
end

-- `best 1 ann 2` finds other seats when a step before it is left out: as the seats that it found,
-- `hold 1 ann A4 A5`, it stands alone.
local function name_seats(house, steps, holds, breaks)
    local lines = {}
    replay(house, steps, holds, function(step, order)
        local verb, event, customer, _, option = table.unpack(step.line)
        if verb ~= "best" or event:find(",", 1, true) or (option and option ~= "--book") then return end
        local line = { option and "book" or "hold", event, customer }
        for _, place in ipairs((house:order(order) or { seats = {} }).seats) do
            line[#line + 1] = place.count and ("%s*%d"):format(place.seat, place.count) or place.seat
        end
        lines[step] = #line > 3 and line or nil
    end)
    for i, step in ipairs(steps) do
        if lines[step] then
            local changed = { table.unpack(steps) }
            changed[i] = with_line(step, lines[step])
            if breaks(changed) then steps = changed end
        end
    end
    return steps
end

local function shrink(house, steps, holds, budget)
    local function breaks(candidate)
        if budget == 0 then return false end
        budget = budget - 1
        return replay(house, candidate, holds) ~= nil
    end
    local before
    steps = name_seats(house, drop_steps(steps, breaks), holds, breaks)
    repeat
        before = #steps
        steps = drop_steps(steps, breaks)
        steps = drop_words(steps, breaks)
    until #steps == before or budget == 0
    return steps
end

-- ---- Printing -------------------------------------------------------------------------------------

local function name_of(index) return index <= 26 and string.char(96 + index) or "o" .. index end

local function user_text(user)
    return ("    as %s %s"):format(user.access, table.concat(user.roles or {}, " ")):gsub("%s+$", "")
end

-- The steps as House:play takes them, with orders named a, b, c; whoever asks is told where it changes.
local function script_of(steps)
    local used, names, lines, asks = {}, {}, {}, nil
    for _, step in ipairs(steps) do
        for _, word in ipairs(step.line) do used[word] = true end
    end
    local n = 0
    for _, step in ipairs(steps) do
        local ref = "$" .. step.number
        local line = {}
        for i, word in ipairs(step.line) do line[i] = names[word] and "$" .. names[word] or word end
        local text = table.concat(line, " ")
        if used[ref] then
            n = n + 1
            names[ref] = name_of(n)
            text = names[ref] .. " = " .. text
        end
        local who = user_text(step.user)
        if who ~= asks then lines[#lines + 1] = who end
        asks = who
        lines[#lines + 1] = "    " .. text
    end
    return table.concat(lines, "\n")
end

local function report(house, what, steps, why, played)
    local text = { ("the property%s does not hold after %d random steps (seed %d); shrunk to %d:"):format(
        what, played, house.options.seed or 1, #steps),
        "  house:play [[", script_of(steps), "  ]]", why, "house:" }
    for _, id in ipairs(house.order_of_events) do
        text[#text + 1] = house:picture(id)
    end
    return table.concat(text, "\n")
end

-- ---- Running --------------------------------------------------------------------------------------

local function copy_without(options, keys)
    local out = {}
    for key, value in pairs(options) do
        if not keys[key] then out[key] = value end
    end
    return out
end

local function crowded(house)
    local free, all = 0, 0
    for _, id in ipairs(house.order_of_events) do
        local event = house:event(id)
        all = all + #event.seats
        for _, seat in ipairs(event.seats) do
            if seat.status == "free" then free = free + 1 end
        end
    end
    return all > 0 and free * 20 <= all
end

-- Plays one house until it is full, its length is over, or something breaks.
local function play_house(house, options, random, total, most)
    house_of.fill(house)
    local crowd = customers.new(house, random, options)
    local steps, full = {}, 0
    for number = 1, math.min(options.length, most - total.steps) do
        local line, user = crowd:step()
        local step = { number = number, line = line, user = user }
        steps[number] = step
        local done, why = play_step(house, step)
        total.steps = total.steps + 1
        if done then
            total.granted = total.granted + 1
            why = broken(options.holds, house, done)
        elseif not why then
            total.refused = total.refused + 1
        end
        crowd:done(number, line, done ~= nil, done and done.order)
        if why then return why, steps end
        if number % 16 == 0 then
            full = crowded(house) and full + 1 or 0
            if full == 2 then break end -- some time to play on in a full house
        end
    end
    total.customers = total.customers + crowd.count
    local ok, message = house.store:check()
    if not ok then return "the store's invariants: " .. message, steps end
end

local LISTS = { "roles", "types", "codes", "actions" }
local NUMBERS = { "steps", "customers", "length", "party", "seed" }

-- The option of these that is of another kind, as a text, or nil.
local function wrong_kind(options, names, kind, what)
    for _, name in ipairs(names) do
        local is = type(options[name])
        if is ~= kind and is ~= "nil" then return ("test.property: %s is a %s, not a %s"):format(name, is, what) end
    end
end

local function say_mistake(options)
    if type(options) ~= "table" then return "test.property takes a table" end
    if type(options.holds) ~= "function" then
        return "test.property: holds = function(house) ... end is what must always be so"
    end
    local wrong = wrong_kind(options, LISTS, "table", "list") or wrong_kind(options, NUMBERS, "number", "number")
    if wrong then return wrong end
    for key in pairs(options.actions or {}) do
        if math.type(key) ~= "integer" then
            return ("test.property: actions is a list of functions; '%s' has a name"):format(tostring(key))
        end
    end
end

local function with_overrides(options)
    local out = {}
    for key, value in pairs(options) do out[key] = value end
    out.seed = M.run_with.seed or options.seed
    if M.run_with.customers then out.customers, out.steps = M.run_with.customers, nil end
    return out
end

local function tell(total, options)
    print(("\n%s: %d customers in %d houses, seed %d: %d commands granted, %d refused; it holds"):format(
        options.name or "property", total.customers, total.houses, options.seed or 1, total.granted, total.refused))
end

--- Plays random customers and fails when `holds` does not. They do what clients can: take, choose by
--- `best`, confirm, extend, wait, let time pass, move, swap, split, and give all or a part back.
---
--- Beside the options of test.house (`user`, when given, asks for all of them):
---   holds      function(house, step): false (and why), or an error, when the property is broken; step
---              is what was granted last: { line = words, user=, judged = ids }, the orders that the
---              rules have granted as they are now: giving back and splitting is judged by none
---   steps      how many commands in all (20000), or customers = how many people
---   length     at most so many in one house (150);  party  at most so many seats at once (6)
---   types      ticket types that people ask for;  codes  that they give with --code
---   roles      of counters that some of them come to;  seed  (1)
---   actions    { function(house, random, crowd) return "wait 1 c1 2" end, ... }: further steps, or
---              nil; crowd:order() is an order that was made before ("$17"), or nil
---@param options table
---@return { steps: integer, customers: integer, granted: integer, refused: integer, houses: integer }
function M.run(options)
    local mistake = say_mistake(options)
    if mistake then words.fail(mistake) end
    options = with_overrides(options)
    local house = house_of.new(copy_without(options, KEYS))
    local run = setmetatable({ length = options.length or 150 }, { __index = options })
    local random = Random.new(options.seed or 1)
    local total = { steps = 0, customers = 0, granted = 0, refused = 0, houses = 0 }
    local most = options.steps or (options.customers and math.huge or 20000)
    while total.steps < most and total.customers < (options.customers or math.huge) do
        total.houses = total.houses + 1
        local why, steps = play_house(house, run, random, total, most)
        if why then
            local small = shrink(house, steps, options.holds, 2000)
            local again = replay(house, small, options.holds) or why
            words.fail(report(house, options.name and " '" .. options.name .. "'" or "", small, again,
                total.steps))
        end
    end
    if M.run_with.customers then tell(total, options) end
    return total
end

return M
