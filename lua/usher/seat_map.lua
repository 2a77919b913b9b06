--- Draws the answer of `seats`: one character a seat, rows as they stand, aisles as gaps, a
--- legend of what occurs. Readable without colour; wraps to the width it is given.
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

local function draw_row(context, house, row, lines)
    local name = width.pad(width.cut(row.row, house.name_width), house.name_width) .. " "
    local room, line, used = math.max(2, context.width - house.name_width - 1), name, 0
    for _, seat in ipairs(row.seats) do
        if used + 2 > room then
            lines[#lines + 1] = line
            line, used = (" "):rep(house.name_width + 1), 0
        end
        line = line .. " " .. draw_seat(context, house, seat)
        used = used + 2
        if seat.aisle_after and used + 4 <= room then
            line, used = line .. "  ", used + 2
        end
    end
    lines[#lines + 1] = line
end

function M.counts(context, value)
    local parts = { ("event %s"):format(value.event) }
    for _, name in ipairs(ORDER) do parts[#parts + 1] = ("%s %d"):format(name, value.counts[name] or 0) end
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

local function areas(context, value, lines)
    for _, area in ipairs(value.areas or {}) do
        local free = area.capacity - (area.held or 0) - (area.booked or 0)
        append(lines, width.flow({ ("%s: %d of %d free,"):format(area.area, free, area.capacity),
            ("held %d,"):format(area.held or 0), ("booked %d"):format(area.booked or 0) }, " ", context.width))
    end
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
    local lines, section = M.counts(context, value), nil
    for _, row in ipairs(value.rows) do
        if row.section and row.section ~= "" and row.section ~= section then
            section = row.section
            lines[#lines + 1] = width.cut(section, context.width)
        end
        draw_row(context, house, row, lines)
    end
    areas(context, value, lines)
    append(lines, legend(context, house))
    return lines
end

return M
