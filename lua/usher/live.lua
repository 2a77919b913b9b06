--- What keeps coming while a command runs: a seat map that changes in place on a terminal,
--- rows of a list that grows. Keeps the state of one statement; M.reset() begins the next.
local seat_map = require "usher.seat_map"
local width = require "usher.width"

local M = {}

local state = {}

function M.reset() state = {} end

--- index -> place of its seat in the map's rows.
local function find_seats(value)
    local seats = {}
    for _, row in ipairs(value.rows) do
        for _, seat in ipairs(row.seats) do seats[seat.seat] = seat end
    end
    return seats
end

--- The map again, over the one before; what does not fit on the screen is left out below.
local function redraw(context, changed)
    local lines = seat_map.draw(context, state.map, changed)
    if state.note then lines[#lines + 1] = width.cut(state.note, context.width) end
    local room = math.max(2, (context.height or 24) - 1)
    while #lines > room do table.remove(lines, #lines > 2 and #lines - 1 or nil) end
    local up = state.lines and state.lines > 0 and ("\27[%dA\r\27[J"):format(state.lines) or ""
    state.lines = #lines
    return up .. table.concat(lines, "\n") .. "\n"
end

local function apply(value)
    local changed, words = {}, {}
    for _, change in ipairs(value.changes) do
        local seat = change.seat and state.seats[change.seat]
        if seat then
            local counts = state.map.counts
            counts[seat.status] = (counts[seat.status] or 0) - 1
            counts[change.status] = (counts[change.status] or 0) + 1
            seat.status = change.status
            changed[change.seat] = true
        end
        for _, area in ipairs(change.area and state.map.areas or {}) do
            if area.area == change.area then
                if area[change.was] then area[change.was] = area[change.was] - change.count end
                if area[change.status] then area[change.status] = area[change.status] + change.count end
            end
        end
        words[#words + 1] = change.seat or ("%s*%d"):format(change.area, change.count)
    end
    local last = value.changes[#value.changes] or { status = "the event has been removed" }
    state.note = ("%s  index %d: %s %s"):format(os.date("%H:%M:%S"), value.index,
        table.concat(words, " "), last and last.status or "")
    return changed
end

--- One change as a line: time, event, index, seats by status.
local function change_line(context, value)
    local groups, order = {}, {}
    for _, change in ipairs(value.changes) do
        if not groups[change.status] then
            groups[change.status] = {}
            order[#order + 1] = change.status
        end
        table.insert(groups[change.status], change.seat or ("%s*%d"):format(change.area, change.count))
    end
    local parts = {}
    for _, status in ipairs(order) do parts[#parts + 1] = table.concat(groups[status], " ") .. " " .. status end
    if value.removed then parts[#parts + 1] = "removed" end
    local time = context.piped and os.date("!%Y-%m-%dT%H:%M:%SZ") or os.date("%H:%M:%S")
    return ("%s  event %s  index %d  %s\n"):format(time, value.event, value.index, table.concat(parts, ", "))
end

local function csv_changes(render, value)
    local lines = {}
    if not state.header then
        state.header = true
        lines[1] = "event,index,seat,status,count"
    end
    for _, change in ipairs(value.changes) do
        lines[#lines + 1] = table.concat({ render.csv_cell(value.event), tostring(value.index),
            render.csv_cell(change.seat or change.area), change.status, tostring(change.count or 1) }, ",")
    end
    if value.removed then lines[#lines + 1] = ("%s,%d,,removed,"):format(render.csv_cell(value.event), value.index) end
    return table.concat(lines, "\n") .. "\n"
end

-- What these columns need as a rule: rows that come later line up with the first.
local USUAL = { index = 7, term = 4, user = 8, client = 6 }

--- A row of a growing list: columns keep the widths they have needed so far.
local function row_line(render, context, value, columns)
    local lines, parts = {}, {}
    state.widths = state.widths or {}
    local first = not state.columns
    state.columns = state.columns or render.columns_of({ value }, columns)
    for j, name in ipairs(state.columns) do
        local text = render.cell(context, name, value[name])
        local usual = USUAL[name] or name == "time" and 20 or width.of(name)
        state.widths[j] = math.max(state.widths[j] or usual, width.of(text))
        parts[j] = width.pad(text, j < #state.columns and state.widths[j] or 0)
    end
    if first then
        local names = {}
        for j, name in ipairs(state.columns) do names[j] = width.pad(name, state.widths[j]) end
        lines[1] = (table.concat(names, "  "):gsub("%s+$", ""))
    end
    local line = table.concat(parts, "  "):gsub("%s+$", "")
    lines[#lines + 1] = context.piped and line or width.cut(line, context.width)
    return table.concat(lines, "\n") .. "\n"
end

--- Text for one frame of the stream, with its line ends.
---@param render table usher/render.lua
---@param kind string "live" | "change" | "row"
function M.frame(render, kind, text, value, columns, context)
    if context.format == "json" then return text .. "\n" end
    if context.format == "lua" then return render.as_lua(value, "") .. "\n" end
    if kind == "row" then
        if context.format == "csv" then
            local header = not state.header
            state.header = true
            return render.as_csv(context, { value }, columns, header) .. "\n"
        end
        return row_line(render, context, value, columns)
    end
    if kind == "live" then
        if context.format == "csv" then return render.render(text, value, columns, context) .. "\n" end
        if context.piped or not value.rows then return render.render(text, value, columns, context) .. "\n" end
        state.map, state.seats = value, find_seats(value)
        state.note = "watching; Ctrl-C ends it"
        return redraw(context)
    end
    if context.format == "csv" then return csv_changes(render, value) end
    if state.map and state.map.event == value.event then return redraw(context, apply(value)) end
    return change_line(context, value)
end

return M
