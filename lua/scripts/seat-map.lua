--- A picture of an event's seats as plain text, for a printer or a mail:
---     usher run lua/scripts/seat-map.lua EVENT [--categories]
--- `.` free, `h` held, `X` booked, `#` blocked, `w` free and accessible; a gap is an aisle. With
--- --categories free seats show their category's letter.
local event, by_category = arg[1], arg[2] == "--categories"
if not event then
    print("usage: usher run seat-map.lua EVENT [--categories]")
    exit(2)
end
local map, message, code = usher.seats { event, full = true }
if not map then
    print(code .. " " .. message)
    exit(1)
end

local MARKS = { held = "h", booked = "X", blocked = "#" }
local letters, names = {}, {}

local function letter_of(category)
    if not letters[category] then
        names[#names + 1] = category
        letters[category] = string.char(string.byte("a") + (#names - 1) % 26)
    end
    return letters[category]
end

local function mark(seat)
    if seat.status ~= "free" then return MARKS[seat.status] end
    if by_category then return letter_of(seat.category) end
    return seat.accessible and "w" or "."
end

local width, longest = 0, 0
local drawn = {}
for i, row in ipairs(map.rows or {}) do
    local cells = {}
    for _, seat in ipairs(row.seats) do
        cells[#cells + 1] = mark(seat)
        if seat.aisle_after then cells[#cells + 1] = " " end
    end
    drawn[i] = table.concat(cells, " ")
    width = math.max(width, #row.row)
    longest = math.max(longest, #drawn[i])
end

local stage = "[ " .. ("stage"):upper() .. " ]"
print((" "):rep(width + 2 + math.max(0, (longest - #stage) // 2)) .. stage)
local section
for i, row in ipairs(map.rows or {}) do
    if row.section ~= section then
        section = row.section
        print("")
        print(section)
    end
    print(("%-" .. width .. "s  %s%s"):format(row.row, (" "):rep((longest - #drawn[i]) // 2), drawn[i]))
end
for _, area in ipairs(map.areas or {}) do
    print(("%s: %d of %d places free"):format(area.area or area.name or "?", area.free or 0, area.capacity or 0))
end
print("")
local counts = map.counts
print(("free %d, held %d, booked %d, blocked %d"):format(counts.free, counts.held, counts.booked, counts.blocked))
if by_category then
    for _, name in ipairs(names) do print(("%s  %s"):format(letters[name], name)) end
end
