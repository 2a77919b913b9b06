--- Seating plans as JSON: the short form, our own full form, and pretix plans, all brought
--- into the one form that `tx:chart_put` takes. Pure: no tx, no global.
---
--- Short form: a list of rows, or {"rows": [...], "areas": [...]}:
---     [{"row": "A", "seats": 10}]
---     {"row": "B", "seats": 10, "section": "stalls", "category": "gold", "first": 11,
---      "aisles": [4], "accessible": [1, 2], "companion": [...], "restricted": [...]}
---   10 seats labelled A1 .. A10; with "first": B11 .. B20; an aisle after the 4th seat.
---   "seats" may also be a list of labels or of seats of the full form.
--- Full form:
---     {"categories": ["gold", "silver"], "tables": ["T1"],
---      "sections": [{"name": "stalls", "rows": [{"name": "A", "category": "gold", "seats": [
---        {"label": "A1", "alias": "x-7", "category": "gold", "x": 0.5, "y": 2, "table": "T1",
---         "accessible": true, "companion": true, "restricted": true, "aisle_after": true}]}]}],
---      "areas": [{"name": "FLOOR", "category": "standing", "capacity": 500}]}
---   Seats stand in physical order. "categories" and "tables" are optional; when they are
---   there, a seat that names another one is refused.
--- pretix: {"name":, "categories": [...], "zones": [{"name":, "rows": [{"row_number":, "seats":
---   [{"seat_guid":, "seat_number":, "position": {"x":, "y":}, "category":}]}]}]}. A seat's label
---   is row and number, with the zone (and a dash) before it where that is not unique; its
---   guid becomes the alias; a gap over 1.5 medians is an aisle.
local M = {}

M.SEATS_MAX = 1000000

---@class PlanSeat
---@field label string
---@field alias? string
---@field category string
---@field x? number
---@field y? number
---@field table? string
---@field accessible? boolean
---@field companion? boolean
---@field restricted? boolean
---@field aisle_after? boolean

---@class PlanRow
---@field name string
---@field section string
---@field seats integer|PlanSeat[] a number: labels NAME .. first, NAME .. first + 1, ...
---@field category? string of numbered seats
---@field first? integer
---@field aisles? integer[]

---@class Plan
---@field rows PlanRow[]
---@field areas { name: string, category: string, capacity: integer }[]

local function bad(text, ...) error({ code = "BADARG", message = "chart: " .. text:format(...) }, 0) end

local function article(noun) return (noun:find("^[aeiou]") and "an " or "a ") .. noun end

local function need(value, wanted, what, ...)
    local kind = math.type(value) == "integer" and "integer" or type(value)
    if kind ~= wanted then
        what = what:format(...)
        if value == nil then bad("%s is missing", what) end
        bad("%s is %s, not %s", what, article(kind), article(wanted))
    end
    return value
end

local function optional(value, wanted, ...)
    if value ~= nil then need(value, wanted, ...) end
    return value
end

local function known_keys(t, keys, what, ...)
    for key in pairs(t) do
        if not keys[key] then bad("%s: unknown member '%s'", what:format(...), tostring(key)) end
    end
end

local function set_of(list)
    local set = {}
    for _, name in ipairs(list) do set[name] = true end
    return set
end

--- Counts seats and stops a plan that is too large before it is spread out.
local function counter()
    local total = 0
    return function(n)
        total = total + n
        if total > M.SEATS_MAX then
            error({ code = "TOOBIG", message = ("chart: more than %d seats"):format(M.SEATS_MAX) }, 0)
        end
    end
end

-- ---- Short and full form ----------------------------------------------------

local SEAT_KEYS = set_of { "label", "alias", "category", "x", "y", "table", "accessible",
    "companion", "restricted", "aisle_after" }
local ROW_KEYS = set_of { "row", "name", "section", "category", "seats", "first", "aisles",
    "accessible", "companion", "restricted" }
local AREA_KEYS = set_of { "name", "category", "capacity" }
local TOP_KEYS = set_of { "rows", "sections", "areas", "categories", "tables", "name" }

local FLAGS = { "accessible", "companion", "restricted" }

local function full_seat(seat, row, i)
    if type(seat) == "string" then seat = { label = seat } end
    local what = ("row %s, seat %d"):format(row.name, i)
    need(seat, "table", "%s", what)
    known_keys(seat, SEAT_KEYS, "%s", what)
    local out = { label = need(seat.label, "string", "%s: label", what) }
    for _, key in ipairs { "alias", "category", "table" } do
        out[key] = optional(seat[key], "string", "%s: %s", what, key)
    end
    for _, key in ipairs { "x", "y" } do
        if seat[key] ~= nil and type(seat[key]) ~= "number" then
            bad("%s: %s is not a number", what, key)
        end
        out[key] = seat[key]
    end
    for _, key in ipairs { "accessible", "companion", "restricted", "aisle_after" } do
        out[key] = optional(seat[key], "boolean", "%s: %s", what, key)
    end
    out.category = out.category or row.category
    return out
end

--- Positions (1-based) of a row of `count` seats, e.g. "aisles": [4].
local function positions(row, key, count)
    local list = optional(row[key], "table", "row %s: %s", row.name, key) or {}
    for _, at in ipairs(list) do
        if math.type(at) ~= "integer" or at < 1 or at > count then
            bad("row %s: %s: there is no seat number %s", row.name, key, tostring(at))
        end
    end
    return list
end

local function has_flags(row)
    for _, key in ipairs(FLAGS) do
        if row[key] then return true end
    end
    return false
end

--- A row of N seats that have nothing of their own needs no list: C makes the labels.
local function numbered_row(row, out, count)
    if count < 1 then bad("row %s has no seats", row.name) end
    local first = optional(row.first, "integer", "row %s: first", row.name) or 1
    if first < 0 then bad("row %s: first is negative", row.name) end
    local aisles = positions(row, "aisles", count)
    if not has_flags(row) then
        out.seats, out.first, out.aisles, out.category = count, first, aisles, row.category
        return
    end
    out.seats = {}
    for i = 1, count do
        out.seats[i] = { label = row.name .. (first + i - 1), category = row.category }
    end
    for _, at in ipairs(aisles) do out.seats[at].aisle_after = true end
    for _, key in ipairs(FLAGS) do
        for _, at in ipairs(positions(row, key, count)) do out.seats[at][key] = true end
    end
end

local function listed_row(row, out)
    for _, key in ipairs { "first", "aisles", "accessible", "companion", "restricted" } do
        if row[key] ~= nil then
            bad("row %s: %s goes with a number of seats; here each seat says it", row.name, key)
        end
    end
    if #row.seats == 0 then bad("row %s has no seats", row.name) end
    out.seats = {}
    for i, seat in ipairs(row.seats) do out.seats[i] = full_seat(seat, row, i) end
end

local function read_row(source, i, section, count)
    need(source, "table", "row %d", i)
    known_keys(source, ROW_KEYS, "row %d", i)
    local row = {}
    for key, value in pairs(source) do row[key] = value end
    row.name = source.row or source.name
    if math.type(row.name) == "integer" then row.name = tostring(row.name) end
    need(row.name, "string", "row %d: name", i)
    row.category = optional(row.category, "string", "row %s: category", row.name) or "default"
    local own = optional(row.section, "string", "row %s: section", row.name)
    local out = { name = row.name, section = own or section or "main" }
    if math.type(row.seats) == "integer" then
        count(row.seats)
        numbered_row(row, out, row.seats)
    else
        need(row.seats, "table", "row %s: seats", row.name)
        count(#row.seats)
        listed_row(row, out)
    end
    return out
end

local function read_areas(list, out)
    for i, area in ipairs(optional(list, "table", "areas") or {}) do
        need(area, "table", "area %d", i)
        known_keys(area, AREA_KEYS, "area %d", i)
        local capacity = need(area.capacity, "integer", "area %d: capacity", i)
        if capacity < 1 or capacity > 0x7fffffff then bad("area %d: wrong capacity", i) end
        out[#out + 1] = { name = need(area.name, "string", "area %d: name", i), capacity = capacity,
            category = optional(area.category, "string", "area %d: category", i) or "default" }
    end
end

--- Rows of one section stand together in a chart.
local function by_section(rows)
    local order, groups = {}, {}
    for _, row in ipairs(rows) do
        local group = groups[row.section]
        if not group then
            group = {}
            groups[row.section] = group
            order[#order + 1] = group
        end
        group[#group + 1] = row
    end
    local out = {}
    for _, group in ipairs(order) do
        for _, row in ipairs(group) do out[#out + 1] = row end
    end
    return out
end

local function check_names(plan, categories, tables)
    local known = categories and set_of(categories)
    local known_tables = tables and set_of(tables)
    local function check(category, table_name, where)
        if known and category ~= "default" and not known[category] then
            bad("%s: category '%s' is not in \"categories\"", where, tostring(category))
        end
        if known_tables and table_name and not known_tables[table_name] then
            bad("%s: table '%s' is not in \"tables\"", where, table_name)
        end
    end
    for _, row in ipairs(plan.rows) do
        if type(row.seats) == "table" then
            for _, seat in ipairs(row.seats) do check(seat.category, seat.table, "seat " .. seat.label) end
        else
            check(row.category, nil, "row " .. row.name)
        end
    end
    for _, area in ipairs(plan.areas) do check(area.category, nil, "area " .. area.name) end
end

local function read_own(source)
    local plan, rows, count = { areas = {} }, {}, counter()
    known_keys(source, TOP_KEYS, "the plan")
    for i, section in ipairs(optional(source.sections, "table", "sections") or {}) do
        need(section, "table", "section %d", i)
        known_keys(section, set_of { "name", "rows", "areas" }, "section %d", i)
        need(section.name, "string", "section %d: name", i)
        for k, row in ipairs(need(section.rows, "table", "section %s: rows", section.name)) do
            rows[#rows + 1] = read_row(row, k, section.name, count)
        end
        read_areas(section.areas, plan.areas)
    end
    for i, row in ipairs(optional(source.rows, "table", "rows") or {}) do
        rows[#rows + 1] = read_row(row, i, nil, count)
    end
    read_areas(source.areas, plan.areas)
    plan.rows = by_section(rows)
    check_names(plan, optional(source.categories, "table", "categories"),
        optional(source.tables, "table", "tables"))
    return plan
end

-- ---- pretix -------------------------------------------------------------------

--- A name that people chose, as part of a label: without what a label cannot have.
local function clean(text)
    return (tostring(text or ""):gsub("[%s%c:%*=/,]+", "_"):gsub("^%-+", ""))
end

--- A guid of another system as an alias, or nil when it could not be typed as one.
local function alias_of(guid)
    if type(guid) ~= "string" or guid == "" or #guid > 128 then return nil end
    if guid:find("[%s%c:%*=/,]") or guid:sub(1, 1) == "-" or not utf8.len(guid) then return nil end
    return guid
end

local function position_of(thing, dx, dy)
    local p = type(thing) == "table" and type(thing.position) == "table" and thing.position or {}
    return (tonumber(p.x) or 0) + dx, (tonumber(p.y) or 0) + dy
end

--- Physical order: along the line from end to end, whatever its direction.
local function sort_row(seats)
    local from, to, widest = nil, nil, 0
    for _, a in ipairs { seats[1], seats[#seats] } do
        for _, b in ipairs(seats) do
            local d = (a.x - b.x) ^ 2 + (a.y - b.y) ^ 2
            if d > widest then from, to, widest = a, b, d end
        end
    end
    if not from then return end -- no positions: as listed
    if from == seats[#seats] then from, to = to, from end
    local dx, dy, at = to.x - from.x, to.y - from.y, {}
    for i, seat in ipairs(seats) do at[seat] = { (seat.x - from.x) * dx + (seat.y - from.y) * dy, i } end
    table.sort(seats, function(a, b)
        if at[a][1] ~= at[b][1] then return at[a][1] < at[b][1] end
        return at[a][2] < at[b][2]
    end)
end

--- A gap over 1.5 medians is an aisle.
local function mark_aisles(seats)
    local gaps = {}
    for i = 1, #seats - 1 do
        gaps[i] = math.sqrt((seats[i + 1].x - seats[i].x) ^ 2 + (seats[i + 1].y - seats[i].y) ^ 2)
    end
    local sorted = {}
    for i, gap in ipairs(gaps) do sorted[i] = gap end
    table.sort(sorted)
    local median = sorted[(#sorted + 1) // 2]
    for i, gap in ipairs(gaps) do
        if median > 0 and gap > 1.5 * median then seats[i].aisle_after = true end
    end
end

local function pretix_row(row, zone, zx, zy, i, count)
    need(row, "table", "zone %s: row %d", zone, i)
    local seats = need(row.seats, "table", "zone %s: row %d: seats", zone, i)
    local rx, ry = position_of(row, zx, zy)
    local number = clean(row.row_number)
    local out = { name = number ~= "" and number or zone, section = zone, seats = {} }
    count(#seats)
    for k, seat in ipairs(seats) do
        need(seat, "table", "zone %s: row %s: seat %d", zone, out.name, k)
        local x, y = position_of(seat, rx, ry)
        out.seats[k] = { x = x, y = y, alias = alias_of(seat.seat_guid), row = number, zone = zone,
            number = clean(seat.seat_number), restricted = seat.restricted == true or nil,
            category = type(seat.category) == "string" and seat.category ~= "" and seat.category
                or "default" }
    end
    return out
end

--- Gives every seat a label of its own: "A1"; where several have that, "stalls-A1"; then
--- "stalls-A-1" (rows 1 and 11 make "111" twice); then with what follows it in the row.
local function label_seats(rows)
    local function forms(seat, k)
        local tail = seat.number ~= "" and seat.number or tostring(k)
        local zoned = seat.zone .. "-" .. seat.row
        return { seat.row .. tail, zoned .. tail, zoned .. "-" .. tail, zoned .. "-" .. tail .. "." .. k }
    end
    local pending, used = {}, {}
    for _, row in ipairs(rows) do
        for k, seat in ipairs(row.seats) do pending[#pending + 1] = { seat, forms(seat, k) } end
    end
    for form = 1, 4 do
        local count, rest = {}, {}
        for _, item in ipairs(pending) do
            local label = item[2][form]
            count[label] = (count[label] or 0) + 1
        end
        for _, item in ipairs(pending) do
            local label = item[2][form]
            if form == 4 or (count[label] == 1 and not used[label]) then
                item[1].label, used[label] = label, true
            else
                rest[#rest + 1] = item
            end
        end
        pending = rest
    end
    for _, row in ipairs(rows) do
        for _, seat in ipairs(row.seats) do seat.row, seat.zone, seat.number = nil, nil, nil end
    end
end

local function read_pretix(source)
    local rows, count = {}, counter()
    for i, zone in ipairs(source.zones) do
        need(zone, "table", "zone %d", i)
        local name = clean(zone.name)
        name = name ~= "" and name or "zone" .. i
        local zx, zy = position_of(zone, 0, 0)
        for k, row in ipairs(optional(zone.rows, "table", "zone %s: rows", name) or {}) do
            local out = pretix_row(row, name, zx, zy, k, count)
            if #out.seats > 0 then
                sort_row(out.seats)
                mark_aisles(out.seats)
                rows[#rows + 1] = out
            end
        end
    end
    label_seats(rows)
    return { rows = by_section(rows), areas = {} }
end

--- Reads a decoded plan of any of the three forms. Raises a refusal (BADARG, TOOBIG).
---@param source any
---@return Plan
function M.read(source)
    need(source, "table", "the plan")
    local plan
    if source.zones ~= nil then
        need(source.zones, "table", "zones")
        plan = read_pretix(source)
    elseif #source > 0 then
        plan = read_own { rows = source }
    else
        plan = read_own(source)
    end
    if #plan.rows == 0 and #plan.areas == 0 then bad("neither rows nor areas: the house is empty") end
    return plan
end

return M
