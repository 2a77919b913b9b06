--- Text pictures of rows, into charts as `add-chart` takes them, and back into pictures.
---
---     "A stalls: ....|......"     row A of category stalls: 4 seats, an aisle, 6 seats
---     . free   w accessible   c companion   r restricted   | aisle   x taken   # blocked
local M = {}

local FLAGS = { w = "accessible", c = "companion", r = "restricted" }

--- Reads one row.
---@param text string
---@return table row as a chart has it
---@return string[] marks one of ". w c r x #" for each seat
function M.row(text)
    local head, picture = text:match("^%s*(.-)%s*:%s*(.-)%s*$")
    if not head or head == "" then
        error(('a row is "NAME CATEGORY: ....|..", not %q'):format(text), 0)
    end
    local name, category = head:match("^(%S+)%s*(.*)$")
    local row = { row = name, seats = {}, category = category ~= "" and category or nil }
    local marks = {}
    for mark in picture:gmatch(".") do
        if mark == "|" then
            if #marks == 0 then error(('row %s begins with an aisle'):format(name), 0) end
            row.seats[#marks].aisle_after = true
        elseif mark:find("[%.wcrx#]") then
            local seat = { label = name .. (#marks + 1) }
            if FLAGS[mark] then seat[FLAGS[mark]] = true end
            marks[#marks + 1] = mark
            row.seats[#marks] = seat
        elseif mark ~= " " then
            error(("row %s: '%s' is none of . w c r x # |"):format(name, mark), 0)
        end
    end
    if #marks == 0 then error(("row %s has no seats"):format(name), 0) end
    return row, marks
end

--- Rows as one chart, and what stands on its seats.
---@param rows string[]
---@param areas table|nil { FLOOR = 100 } or { { name=, category=, capacity= }, ... }
---@param json table
---@return string chart JSON for add-chart
---@return string[][] taken runs of neighbouring taken seats
---@return string[] blocked
function M.chart(rows, areas, json)
    local taken, blocked, list = {}, {}, json.list {}
    for i, text in ipairs(rows or {}) do
        local row, marks = M.row(text)
        json.list(row.seats)
        list[i] = row
        local run
        for k, mark in ipairs(marks) do
            local label = row.seats[k].label
            if mark == "#" then blocked[#blocked + 1] = label end
            if mark ~= "x" then
                run = nil
            elseif run then
                run[#run + 1] = label
            else
                run = { label }
                taken[#taken + 1] = run
            end
            if row.seats[k].aisle_after then run = nil end
        end
    end
    local chart = { rows = list, areas = M.areas(areas, json) }
    return json.encode(chart), taken, blocked
end

function M.areas(areas, json)
    local out, names = json.list {}, {}
    for key, value in pairs(areas or {}) do
        if type(key) == "string" then
            names[#names + 1] = key
        else
            out[#out + 1] = value
        end
    end
    table.sort(names)
    for _, name in ipairs(names) do
        local value = areas[name]
        local area = type(value) == "table" and value or { capacity = value }
        out[#out + 1] = { name = name, capacity = area.capacity, category = area.category }
    end
    return out
end

local SIGN = { free = ".", held = "h", booked = "X", blocked = "#" }

--- The house as text: `. free  h held  X booked  # blocked`; `asked` seats get a mark below.
---@param event table as house.lua has it
---@param asked table<string, true>|nil labels
---@return string
function M.picture(event, asked)
    local width, lines = 1, {}
    for _, row in ipairs(event.rows) do width = math.max(width, #row.name) end
    local form = "  %-" .. width .. "s %s"
    local marked
    for _, row in ipairs(event.rows) do
        local signs, below = {}, {}
        local any = false
        for i, seat in ipairs(row) do
            local sign = SIGN[seat.status]
            if sign == "." and seat.accessible then sign = "w" end
            local gap = (seat.aisle_after and i < #row) and " | " or " "
            signs[#signs + 1] = sign .. gap
            local hit = asked and asked[seat.label]
            any = any or hit
            below[#below + 1] = (hit and "^" or " ") .. (" "):rep(#gap)
        end
        lines[#lines + 1] = form:format(row.name, table.concat(signs)):gsub("%s+$", "")
        if any then
            marked = true
            lines[#lines + 1] = form:format("", table.concat(below)):gsub("%s+$", "")
        end
    end
    for _, area in ipairs(event.areas) do
        local held, booked = area:use()
        lines[#lines + 1] = ("  %s: %d held, %d booked of %d"):format(area.label, held, booked, area.capacity)
    end
    local legend = "  . free  h held  X booked  # blocked" .. (marked and "  ^ asked for" or "")
    lines[#lines + 1] = legend
    return table.concat(lines, "\n")
end

return M
