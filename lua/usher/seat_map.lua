--- Draws the answer of `seats`: one character a seat, rows as they stand, aisles as gaps, seat
--- numbers above where a section's rows share them, a legend of what occurs. Readable without
--- colour. Seats stand apart where the widest row has room for that, else close together; a row that
--- is wider still goes on below.
local width = require "usher.width"

local M = {}

local MARKS = { free = ".", held = "h", booked = "X", blocked = "#" }
local COLOURS = { free = "32", held = "33", booked = "31", blocked = "90", own = "1;36" }
-- Free seats of the first nine categories, where a house has more than one.
local CATEGORY_COLOURS = { "32", "34", "35", "36", "92", "94", "95", "96", "37" }
local ORDER = { "free", "held", "booked", "blocked" }

local function paint(context, text, code)
    if not context.colour then return text end
    return ("\27[%sm%s\27[0m"):format(code, text)
end

--- name -> number of the categories of a house, and their names in order.
local function categories_of(rows)
    local numbers, names = {}, {}
    for _, row in ipairs(rows) do
        for _, seat in ipairs(row.seats) do
            local name = seat.category or ""
            if not numbers[name] then
                names[#names + 1] = name
                numbers[name] = #names
            end
        end
    end
    return numbers, names
end

local function set_of(list)
    local set = {}
    for _, name in ipairs(list or {}) do set[name] = true end
    return set
end

--- Character and colour of one seat.
local function look(house, seat)
    if house.own[seat.seat] then return "@", COLOURS.own end
    if seat.status ~= "free" then return MARKS[seat.status] or "?", COLOURS[seat.status] or "0" end
    if seat.accessible then return "w", COLOURS.free end
    local number = #house.categories > 1 and house.numbers[seat.category or ""]
    if number and number <= 9 then return tostring(number), CATEGORY_COLOURS[number] end
    return MARKS.free, COLOURS.free
end

local function draw_seat(context, house, seat)
    local text, colour = look(house, seat)
    house.seen[text] = true
    if house.changed[seat.seat] then
        return context.colour and paint(context, text, "7;" .. colour) or text
    end
    return paint(context, text, colour)
end

--- Columns that a row takes with `step` columns a seat; an aisle is as wide as a seat.
local function row_width(row, step)
    local used = 0
    for i, seat in ipairs(row.seats) do
        used = used + step + (seat.aisle_after and i < #row.seats and step or 0)
    end
    return used
end

--- Columns a seat: 2 where every row has room for it, else 1.
local function step_of(rows, room)
    for _, row in ipairs(rows) do
        if row_width(row, 2) > room then return 1 end
    end
    return 2
end

local function draw_row(context, house, row, lines)
    local step, room, used = house.step, house.room, 0
    local line = width.pad(width.cut(row.row, house.name_width), house.name_width + house.gap)
    for _, seat in ipairs(row.seats) do
        if used + step > room then
            lines[#lines + 1] = line
            line, used = (" "):rep(house.name_width + house.gap), 0
        end
        line = line .. (step == 2 and " " or "") .. draw_seat(context, house, seat)
        used = used + step
        if seat.aisle_after and used + 2 * step <= room then
            line, used = line .. (" "):rep(step), used + step
        end
    end
    lines[#lines + 1] = line
end

-- ---- Seat numbers --------------------------------------------------------------------

--- Column -> seat number where all rows of a section agree; nil where they do not, or wrap.
local function numbers_of(house, rows)
    local numbers, places = {}, {}
    for _, row in ipairs(rows) do
        local at = 0
        if row_width(row, house.step) > house.room then return nil end
        for _, seat in ipairs(row.seats) do
            local number = seat.seat:match("(%d+)$")
            if not number or (numbers[at] or number) ~= number or (places[number] or at) ~= at then return nil end
            numbers[at], places[number] = number, at
            at = at + house.step + (seat.aisle_after and house.step or 0)
        end
    end
    return numbers
end

--- The line of numbers above a section: the first one and each fifth. Nil when it would say little.
local function ruler(house, rows)
    local numbers = numbers_of(house, rows) or {}
    local columns = {}
    for at in pairs(numbers) do columns[#columns + 1] = at end
    if #columns < 5 then return nil end
    table.sort(columns)
    local line = (" "):rep(house.name_width + house.gap + house.step - 1)
    local start = #line
    for i, at in ipairs(columns) do
        local text = numbers[at]
        local free = #line == start or #line - start < at
        if (i == 1 or tonumber(text) % 5 == 0) and free then
            line = line .. (" "):rep(start + at - #line) .. text
        end
    end
    return line
end

--- Whether the event has numbered seats.
function M.has_seats(value)
    for _, n in pairs(value.counts) do
        if n > 0 then return true end
    end
    return #(value.areas or {}) == 0
end

function M.counts(context, value)
    local parts = { ("event %s"):format(value.event) }
    for _, name in ipairs(M.has_seats(value) and ORDER or {}) do
        parts[#parts + 1] = ("%s %d"):format(name, value.counts[name] or 0)
    end
    if value.own then parts[#parts + 1] = ("own %d"):format(#value.own) end
    return width.flow(parts, "   ", context.width)
end

local function legend(context, house)
    local parts, widths = {}, {}
    local function add(mark, colour, text)
        parts[#parts + 1] = paint(context, mark, colour) .. " " .. text
        widths[#widths + 1] = 1 + 1 + width.of(text)
    end
    if #house.categories > 1 then
        for i, name in ipairs(house.categories) do
            if i <= 9 then add(tostring(i), CATEGORY_COLOURS[i], "free, " .. (name ~= "" and name or "no category")) end
        end
        if #house.categories > 9 then add(".", COLOURS.free, "free, other categories") end
    else
        add(".", COLOURS.free, "free")
    end
    if house.seen.w then add("w", COLOURS.free, "free, accessible") end
    for i = 2, #ORDER do add(MARKS[ORDER[i]], COLOURS[ORDER[i]], ORDER[i]) end
    if next(house.own) or house.customer then add("@", COLOURS.own, "own") end
    return width.flow(parts, "  ", context.width, widths)
end

local function append(lines, more)
    for _, line in ipairs(more) do lines[#lines + 1] = line end
end

--- A line for each area, appended to `lines`.
function M.areas(context, value, lines)
    for _, area in ipairs(value.areas or {}) do
        local free = area.capacity - (area.held or 0) - (area.booked or 0)
        append(lines, width.flow({ ("%s: %d of %d free,"):format(area.area, free, area.capacity),
            ("held %d,"):format(area.held or 0), ("booked %d"):format(area.booked or 0) }, " ", context.width))
    end
end

--- The rows of a map in groups that stand under one name.
local function sections_of(rows)
    local list = {}
    for _, row in ipairs(rows) do
        local name = row.section ~= "" and row.section or nil
        if #list == 0 or (name and list[#list].name ~= name) then list[#list + 1] = { name = name, rows = {} } end
        table.insert(list[#list].rows, row)
    end
    return list
end

--- The whole map.
---@param context { width: integer, colour: boolean }
---@param value table the answer of `seats EVENT --full`
---@param changed table<string, boolean>? seats to stand out
---@return string[] lines
function M.draw(context, value, changed)
    local numbers, names = categories_of(value.rows)
    local house = { numbers = numbers, categories = names, own = set_of(value.own), customer = value.own ~= nil,
        changed = changed or {}, seen = {}, name_width = 1 }
    local widest = math.max(1, math.min(12, context.width // 3))
    for _, row in ipairs(value.rows) do
        house.name_width = math.min(widest, math.max(house.name_width, width.of(row.row)))
    end
    house.gap = 1
    house.room = math.max(2, context.width - house.name_width - house.gap)
    house.step = step_of(value.rows, house.room)
    local lines = M.counts(context, value)
    for _, section in ipairs(sections_of(value.rows)) do
        if section.name then lines[#lines + 1] = width.cut(section.name, context.width) end
        lines[#lines + 1] = ruler(house, section.rows)
        for _, row in ipairs(section.rows) do draw_row(context, house, row, lines) end
    end
    M.areas(context, value, lines)
    if #value.rows > 0 then append(lines, legend(context, house)) end
    return lines
end

return M
