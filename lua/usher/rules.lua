--- Rules that venues use, ready made (docs/lua.md, 3):
---
---     local rules = require "usher.rules"
---     return policy { rules = { rules.max_per_customer(6), rules.no_orphans { aisles = true } },
---                     price = rules.price_zones { stalls = 6500, circle = 4500 } }
---
--- Every function makes a rule (price_zones: a price function). A rule reads the house and
--- the ask and changes nothing. It is run for each event that a request touches; `ask.seats`
--- are the places as they would be afterwards, kept ones included.
local policy = require "usher.policy"
local rule = policy.rule

local M = {}

-- ---- Parties ------------------------------------------------------------------

--- Places of the asked event, areas counted by heads.
local function heads(places, event)
    local n = 0
    for _, place in ipairs(places) do
        if place.event == event then n = n + (place.count or 1) end
    end
    return n
end

--- Numbered seats of the asked event that the request newly takes (`ask.gains`): what an
--- order sits on already is not judged again.
local function new_seats(ask)
    local out = {}
    for _, place in ipairs(ask.gains) do
        if place.seat and place.event == ask.event then out[#out + 1] = place.seat end
    end
    return out
end

--- Numbered seats of the asked event, new and kept.
local function all_seats(ask)
    local out = {}
    for _, place in ipairs(ask.seats) do
        if place.seat and place.event == ask.event then out[#out + 1] = place.seat end
    end
    return out
end

--- Groups of neighbours among `seats`: never across an aisle, each in physical order.
local function blocks_of(seats)
    local by_label, blocks = {}, {}
    for _, seat in ipairs(seats) do by_label[seat.label] = seat end
    for _, seat in ipairs(seats) do
        local before = seat:next(-1)
        if not (before and by_label[before.label]) then
            local block = {}
            while seat and by_label[seat.label] do
                block[#block + 1] = seat
                seat = seat:next(1)
            end
            blocks[#blocks + 1] = block
        end
    end
    return blocks
end

local function labels(seats, from, count)
    local out = json and json.list {} or {}
    for i = from or 1, (from or 1) + (count or #seats) - 1 do out[#out + 1] = seats[i].label end
    return out
end

-- ---- Limits -------------------------------------------------------------------

--- At most `n` places for each customer at an event, over holds and bookings.
---@param n integer
---@return Rule
function M.max_per_customer(n)
    if math.type(n) ~= "integer" or n < 1 then
        error("max_per_customer: a number of places is expected", 2)
    end
    return rule {
        name = "max_per_customer", code = "LIMIT",
        check = function(tx, ask)
            local held, booked = tx:count(ask.event, ask.customer)
            local has = held + booked
            if ask.verb ~= "take" and ask.order then has = has - heads(ask.order.seats, ask.event) end
            local wants = heads(ask.seats, ask.event)
            if has + wants <= n then return true end
            local left = math.max(n - has, 0)
            return nil, {
                message = ("at most %d seats for each customer at this event: %d are taken already, "
                    .. "%d were asked for"):format(n, has, wants),
                hint = left > 0 and ("%d more may be taken"):format(left)
                    or "give a seat back first",
            }
        end,
    }
end

--- How many places one request may take: at least `min`, at most `max`, a multiple of `step`.
---@param spec { min?: integer, max?: integer, step?: integer }
---@return Rule
function M.party(spec)
    local min, max, step = spec.min or 1, spec.max, spec.step or 1
    for key, value in pairs { min = min, max = max, step = step } do
        if math.type(value) ~= "integer" or value < 1 then
            error(("party: %s is not a number of places"):format(key), 2)
        end
    end
    return rule {
        name = "party", on = { "take" },
        check = function(_, ask)
            local n = heads(ask.seats, ask.event)
            if n < min then
                return nil, { message = ("a party of %d is too small"):format(n),
                    hint = ("take at least %d seats together"):format(min) }
            elseif max and n > max then
                return nil, { message = ("a party of %d is too large"):format(n),
                    hint = ("take at most %d seats at once"):format(max) }
            elseif n % step ~= 0 then
                return nil, { message = ("%d seats cannot be taken together here"):format(n),
                    hint = ("take a multiple of %d seats"):format(step) }
            end
            return true
        end,
    }
end

-- ---- Neighbours ---------------------------------------------------------------

--- A party sits together: in one block of neighbours, or in at most `split` of them.
---@param spec? { split?: integer }
---@return Rule
function M.adjacent(spec)
    local split = spec and spec.split or 1
    if math.type(split) ~= "integer" or split < 1 then
        error("adjacent: split is a number of blocks", 2)
    end
    return rule {
        name = "adjacent",
        check = function(tx, ask)
            local seats = all_seats(ask)
            local blocks = blocks_of(seats)
            if #blocks <= split then return true end
            local denial = {
                message = split == 1 and "the seats are not next to each other: SEAT is apart"
                    or ("the seats are in more than %d blocks: SEAT is apart"):format(split),
                seat = blocks[split + 1][1],
            }
            local near = tx:near(seats[1], #seats, 1)[1]
            denial.alternative = near and labels(near)
            denial.hint = denial.alternative and "together are " .. table.concat(denial.alternative, " ")
                or nil
            return nil, denial
        end,
    }
end

--- A gap of `gap` free seats beside a party, ended by `beyond` (the seat behind it, nil at a
--- row's end or an aisle): is nobody left alone in it?
local function gap_ok(ask, gap, beyond, aisles)
    if gap ~= 1 then return true end
    if beyond == nil then return aisles end
    return ask:status(beyond) == "free"
end

--- First seats (1-based) in `run` where `size` seats leave no orphan, nearest `near` first.
local function clean_start(ask, run, size, near, aisles)
    local before, behind = run[1]:next(-1), run[#run]:next(1)
    local best
    for start = 1, #run - size + 1 do
        if gap_ok(ask, start - 1, before, aisles)
            and gap_ok(ask, #run - size + 1 - start, behind, aisles)
            and (not best or math.abs(start - near) < math.abs(best - near)) then
            best = start
        end
    end
    return best
end

--- The free run in which one block of the party sits, as it was before; and where it starts.
local function run_around(ask, block)
    local run, seat = {}, block[1]:next(-1)
    while seat and ask:status(seat) == "free" do
        table.insert(run, 1, seat)
        seat = seat:next(-1)
    end
    local start = #run + 1
    for _, own in ipairs(block) do run[#run + 1] = own end
    seat = block[#block]:next(1)
    while seat and ask:status(seat) == "free" do
        run[#run + 1] = seat
        seat = seat:next(1)
    end
    return run, start
end

--- The seat that this block would leave alone, if any.
local function orphan_of(ask, block, aisles)
    for _, side in ipairs { { block[1], -1 }, { block[#block], 1 } } do
        local beside = side[1]:next(side[2])
        if beside and ask:status(beside) == "free" then
            local beyond = beside:next(side[2])
            local single = beyond == nil or ask:status(beyond) ~= "free"
            if single and not (beyond == nil and aisles) then return beside end
        end
    end
end

--- Runs of the event where the party could sit instead: of its category, and of its section
--- when only the block counts.
local function other_runs(ask, size, seat, scope)
    local runs = {}
    for _, run in ipairs(ask.event:runs { min = size, category = seat.category }) do
        if scope ~= "block" or run[1].section == seat.section then runs[#runs + 1] = run end
    end
    return runs
end

--- Does a block use or touch the seats asked for? Those count as taken here, but would be
--- free if the block were taken instead.
local function touches(own, block)
    local before, behind = block[1]:next(-1), block[#block]:next(1)
    if before and own[before.label] or behind and own[behind.label] then return true end
    for _, seat in ipairs(block) do
        if own[seat.label] then return true end
    end
    return false
end

--- Seats that the rule would grant: in the same run, else close by.
local function alternative_of(tx, ask, block, size, aisles)
    if #block == size then
        local run, start = run_around(ask, block)
        local at = clean_start(ask, run, size, start, aisles)
        if at then return labels(run, at, size) end
    end
    local own = {}
    for _, seat in ipairs(new_seats(ask)) do own[seat.label] = true end
    for _, other in ipairs(tx:near(block[1], size)) do
        if not touches(own, other) and not orphan_of(ask, other, aisles) then return labels(other) end
    end
end

local function another_choice(ask, size, seat, scope, aisles)
    for _, run in ipairs(other_runs(ask, size, seat, scope)) do
        if clean_start(ask, run, size, 1, aisles) then return true end
    end
    return false
end

--- No free seat is left alone between taken seats.
---   aisles    true: a single seat at an aisle or at a row's end may be left
---   feasible  "event" | "block": an orphan may be left when no other choice of that size and
---             category avoids it, in the whole event or in the section; nil: never
---@param spec? { aisles?: boolean, feasible?: "event"|"block" }
---@return Rule
function M.no_orphans(spec)
    local aisles, feasible = spec and spec.aisles or false, spec and spec.feasible
    if feasible ~= nil and feasible ~= "event" and feasible ~= "block" then
        error('no_orphans: feasible is "event" or "block"', 2)
    end
    return rule {
        name = "no_orphans",
        check = function(tx, ask)
            local seats = new_seats(ask)
            for _, block in ipairs(blocks_of(seats)) do
                local orphan = orphan_of(ask, block, aisles)
                if orphan and not (feasible
                        and not another_choice(ask, #seats, block[1], feasible, aisles)) then
                    local alternative = alternative_of(tx, ask, block, #seats, aisles)
                    return nil, {
                        message = "this would leave SEAT alone",
                        seat = orphan,
                        hint = alternative and "possible: " .. table.concat(alternative, " ")
                            or ("take %s too, or sit elsewhere"):format(orphan.label),
                        alternative = alternative,
                    }
                end
            end
            return true
        end,
    }
end

-- ---- Time ---------------------------------------------------------------------

local function days(year, month, day)
    year = month <= 2 and year - 1 or year
    local era = year // 400
    local y = year - era * 400
    local d = (153 * (month + (month > 2 and -3 or 9)) + 2) // 5 + day - 1
    return era * 146097 + y * 365 + y // 4 - y // 100 + d - 719468
end

--- A time in ms: an integer (ms since 1970), or UTC text such as "2026-05-01 10:00".
---@param value integer|string
---@return integer|nil
function M.time(value)
    if math.type(value) == "integer" then return value end
    if type(value) ~= "string" then return nil end
    local year, month, day, rest = value:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)(.*)$")
    if not year then return nil end
    local hour, minute, second = "0", "0", "0"
    if rest ~= "" then
        hour, minute, rest = rest:match("^[T ](%d%d):(%d%d)(.*)$")
        if not hour then return nil end
        second = rest:match("^:(%d%d)Z?$") or ((rest == "" or rest == "Z") and "0") or nil
        if not second then return nil end
    end
    local m, d = math.tointeger(month), math.tointeger(day)
    if m < 1 or m > 12 or d < 1 or d > 31 or math.tointeger(hour) > 23
        or math.tointeger(minute) > 59 or math.tointeger(second) > 59 then
        return nil
    end
    return ((days(math.tointeger(year), m, d) * 24 + math.tointeger(hour)) * 60
        + math.tointeger(minute)) * 60000 + math.tointeger(second) * 1000
end

local function time_of(spec, key)
    if spec[key] == nil then return nil end
    local ms = M.time(spec[key])
    if not ms then
        error(("window: %s is not a time such as \"2026-05-01 10:00\""):format(key), 3)
    end
    return ms
end

--- When seats are sold, by the time of the entry.
---   without codes: nothing is sold before `from`, nor from `to` on
---   with codes (a presale): nothing before `from`; until `to` only with one of the codes;
---   from `to` on for everybody
---@param spec { from?: integer|string, to?: integer|string, codes?: string[] }
---@return Rule
function M.window(spec)
    local from, to = time_of(spec, "from"), time_of(spec, "to")
    if from and to and to <= from then error("window: it ends before it begins", 2) end
    local codes = spec.codes
    if codes ~= nil and (type(codes) ~= "table" or #codes == 0) then
        error("window: codes is a list of texts", 2)
    end
    return rule {
        name = "window",
        check = function(tx, ask)
            if from and tx.now < from then
                return nil, { message = "the sale has not begun", hint = "come back later", from = from }
            end
            if not codes then
                if to and tx.now >= to then return nil, { message = "the sale has ended", to = to } end
                return true
            end
            if to and tx.now >= to then return true end
            for _, code in ipairs(codes) do
                if ask.codes[code] then return true end
            end
            return nil, { message = "this is a presale, for those who have a code",
                hint = "give it with --code" }
        end,
    }
end

-- ---- Prices -------------------------------------------------------------------

--- A price function: minor units by category; a table gives prices by ticket type, its first
--- element the one without a type. `default` is for every category that is not listed.
---@param zones table<string, integer|table>
---@return fun(tx: Tx, ask: Ask, seat: Place): integer
function M.price_zones(zones)
    if type(zones) ~= "table" then error("price_zones: a table is expected", 2) end
    local function check(name, amount)
        if math.type(amount) ~= "integer" or amount < 0 then
            error(("price_zones: the price of %s is no whole amount of minor units"):format(name), 3)
        end
    end
    for category, price in pairs(zones) do
        if type(price) == "table" then
            for kind, amount in pairs(price) do check(category .. "=" .. tostring(kind), amount) end
        else
            check(tostring(category), price)
        end
    end
    return function(_, _, seat)
        local price = zones[seat.category]
        if price == nil then price = zones.default end
        if type(price) == "table" then
            local of_type = price[seat.type or 1]
            if of_type == nil then
                policy.deny { message = ("there is no ticket '%s' for SEAT"):format(seat.type or ""),
                    seat = seat, code = "BADARG", rule = "price_zones" }
            end
            return of_type
        end
        if price == nil then
            policy.deny { message = "SEAT has no price: its category is not on the list",
                seat = seat, rule = "price_zones" }
        end
        return price
    end
end

return M
