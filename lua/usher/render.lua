--- Turns answers (decoded JSON) into text for people and programs: table, json, lua, csv.
--- Runs in the client; pure.
local seat_map = require "usher.seat_map"
local width = require "usher.width"

local M = {}

M.FORMATS = { "table", "json", "lua", "csv" }

local function is_list(value) return type(value) == "table" and (#value > 0 or next(value) == nil) end

local function sorted_keys(t)
    local keys = {}
    for k in pairs(t) do keys[#keys + 1] = k end
    table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
    return keys
end

local width_of, pad = width.of, width.pad

local function is_time(key)
    return key == "time" or key == "expires_at" or key == "since" or key:match("_at$") ~= nil
        or key:match("_time$") ~= nil
end

local COUNTS = { "free", "held", "booked", "blocked" }

local function seat_of(item) return type(item) == "table" and (item.seat or item.area) or nil end

--- A place as the word that asks for it; with its event where the list is of several.
local function word_of(item, events)
    local word = seat_of(item)
    if item.count then word = word .. "*" .. item.count end
    if item.type then word = word .. "=" .. item.type end
    return events and item.event and item.event .. ":" .. word or word
end

local function several_events(places)
    for _, item in ipairs(places) do
        if type(item) == "table" and item.event ~= places[1].event then return true end
    end
    return false
end

--- One value as one cell.
local function cell(context, key, value)
    if value == nil then return "" end
    if type(value) == "number" and is_time(key) and value > 1e11 then
        local whole = value // 1000
        if context.piped then return os.date("!%Y-%m-%dT%H:%M:%SZ", whole) end
        return os.date("%Y-%m-%d %H:%M:%S", whole)
    end
    if type(value) ~= "table" then return (tostring(value):gsub("[%c\127]", "?")) end
    if is_list(value) then
        local parts, events = {}, seat_of(value[1]) and several_events(value)
        for i, item in ipairs(value) do
            parts[i] = seat_of(item) and word_of(item, events) or cell(context, "", item)
        end
        return table.concat(parts, " ")
    end
    local parts = {}
    for _, k in ipairs(value.free and COUNTS or sorted_keys(value)) do
        local text = cell(context, tostring(k), value[k])
        if text ~= "" then parts[#parts + 1] = ("%s=%s"):format(k, text) end
    end
    return table.concat(parts, " ")
end

-- Columns that a reader looks for first.
local FIRST = { "command", "was", "now", "order", "event", "rule", "id", "address", "name", "status", "role",
    "leader", "customer", "chart", "seats", "expires_at", "price", "currency" }

--- The command that goes on with a list that was cut (docs/lua.md, 2), or nil.
local function rest_of(rows)
    local last = rows[#rows]
    return type(last) == "table" and last.more == true and last.next or nil
end

local function columns_of(rows, wanted)
    if wanted and #wanted > 0 then
        if not rest_of(rows) then return wanted end
        local names = table.move(wanted, 1, #wanted, 1, {})
        names[#names + 1], names[#names + 2] = "more", "next"
        return names
    end
    local seen, names = {}, {}
    for _, row in ipairs(rows) do
        for key in pairs(row) do
            if not seen[key] then
                seen[key] = true
                names[#names + 1] = tostring(key)
            end
        end
    end
    table.sort(names)
    local out = {}
    for _, name in ipairs(FIRST) do
        if seen[name] then out[#out + 1] = name end
    end
    local first = {}
    for _, name in ipairs(out) do first[name] = true end
    for _, name in ipairs(names) do
        if not first[name] then out[#out + 1] = name end
    end
    return out
end

-- A value gets at least so many columns beside its name; with fewer it stands below it.
local VALUE_MIN = 16

--- One field of a block: what does not fit on the line goes on below, under its beginning.
local function field(context, lines, name, widest, text)
    local line = pad(name, widest) .. "  " .. text
    if context.piped or width_of(line) <= context.width then
        lines[#lines + 1] = line
        return
    end
    local indent = widest + 2
    if context.width - indent < VALUE_MIN then
        lines[#lines + 1] = name
        indent = 2
    end
    for i, part in ipairs(width.wrap(text, math.max(1, context.width - indent))) do
        lines[#lines + 1] = (i == 1 and indent > 2 and pad(name, indent) or (" "):rep(indent)) .. part
    end
end

--- Each row as a block of its own: for tables that are wider than the terminal.
local function blocks(context, rows, columns)
    local widest, lines = 0, {}
    for _, name in ipairs(columns) do widest = math.max(widest, width_of(name)) end
    for i, row in ipairs(rows) do
        if i > 1 then lines[#lines + 1] = "" end
        for _, name in ipairs(columns) do
            local text = cell(context, name, row[name])
            if text ~= "" then field(context, lines, name, widest, text) end
        end
    end
    return table.concat(lines, "\n")
end

-- The widest column of a table, or the two widest, may shrink to so many columns; their text is wrapped.
local COLUMN_MIN = 24

--- Column -> its width, for those whose text must be wrapped; empty: all fit. Nil: no way to fit.
local function wrapped_columns(context, widths)
    local order, total = {}, -2
    for j, w in ipairs(widths) do
        order[j] = j
        total = total + w + 2
    end
    if context.piped or total <= context.width then return {} end
    table.sort(order, function(a, b)
        if widths[a] ~= widths[b] then return widths[a] > widths[b] end
        return a < b
    end)
    local first, second = order[1], order[2]
    local room = context.width - (total - widths[first])
    if room >= COLUMN_MIN then return { [first] = room } end
    room = second and (room + widths[second]) // 2 or 0
    if room >= COLUMN_MIN then return { [first] = room, [second] = room } end
end

--- One row as lines, the text of some columns broken.
local function row_lines(lines, list, widths, wrapped)
    local broken, height = {}, 1
    for j, room in pairs(wrapped) do
        broken[j] = width.wrap(list[j], room)
        height = math.max(height, #broken[j])
    end
    for i = 1, height do
        local parts = {}
        for j = 1, #widths do
            local text = list[j]
            if broken[j] then text = broken[j][i] or "" elseif i > 1 then text = "" end
            parts[j] = pad(text, widths[j])
        end
        lines[#lines + 1] = (table.concat(parts, "  "):gsub("%s+$", ""))
    end
end

--- The columns that have something to say in some row.
local function filled(context, rows, columns)
    local out = {}
    for _, name in ipairs(columns) do
        for _, row in ipairs(rows) do
            if cell(context, name, row[name]) ~= "" then
                out[#out + 1] = name
                break
            end
        end
    end
    return #out > 0 and out or columns
end

local function grid(context, rows, columns)
    columns = filled(context, rows, columns)
    local widths, cells, lines = {}, {}, {}
    for j, name in ipairs(columns) do widths[j] = width_of(name) end
    for i, row in ipairs(rows) do
        cells[i] = {}
        for j, name in ipairs(columns) do
            cells[i][j] = cell(context, name, row[name])
            widths[j] = math.max(widths[j], width_of(cells[i][j]))
        end
    end
    local wrapped = wrapped_columns(context, widths)
    if not wrapped then return blocks(context, rows, columns) end
    for j, room in pairs(wrapped) do widths[j] = room end
    row_lines(lines, columns, widths, {})
    for _, list in ipairs(cells) do row_lines(lines, list, widths, wrapped) end
    return table.concat(lines, "\n")
end

--- Orders of a list with the event that each is of in a column of its own. Of several events the places say
--- it, as words that `move` takes.
local function with_event(rows)
    local out = {}
    for i, row in ipairs(rows) do
        local places = type(row) == "table" and row.order and row.event == nil and row.seats
        local first = type(places) == "table" and places[1]
        out[i] = row
        if type(first) == "table" and first.event and not several_events(places) then
            out[i] = { event = first.event }
            for key, value in pairs(row) do out[i][key] = value end
        end
    end
    return out
end

--- Counts of seats as columns of their own: rows, columns.
local function flat(rows, columns)
    local at
    for j, name in ipairs(columns) do at = name == "counts" and j or at end
    if not at then return rows, columns end
    local out, names = {}, {}
    for j, name in ipairs(columns) do
        if j ~= at then names[#names + 1] = name end
    end
    for _, name in ipairs(COUNTS) do names[#names + 1] = name end
    for i, row in ipairs(rows) do
        local copy = {}
        for key, value in pairs(row) do copy[key] = value end
        for key, value in pairs(type(row.counts) == "table" and row.counts or {}) do
            if copy[key] == nil then copy[key] = value end
        end
        out[i] = copy
    end
    return out, names
end

local AREAS = "+ places of areas, which have no seats: `event EVENT` shows each"

--- For a terminal: what a row's areas have stands beside its seats, as 19+480, since both in columns of their
--- own are wider than the screen. Rows, columns, and the line that explains it, if there is such a row.
local function with_areas(rows, columns)
    local out, names, legend = {}, {}, nil
    for i, row in ipairs(rows) do
        local areas, copy = row.area_counts, {}
        for key, value in pairs(row) do copy[key] = value end
        if type(areas) == "table" then
            legend = AREAS
            for _, name in ipairs(COUNTS) do
                if row[name] and areas[name] then copy[name] = ("%s+%s"):format(row[name], areas[name]) end
            end
        end
        out[i] = copy
    end
    if not legend then return rows, columns end
    for _, name in ipairs(columns) do
        if name ~= "area_counts" then names[#names + 1] = name end
    end
    return out, names, legend
end

--- The next useful command after an answer, for people; nil when nothing suggests itself.
local function next_of(value)
    local first = type(value.seats) == "table" and value.seats[1]
    if value.order and value.dry_run then return nil end
    if value.order and value.status == "held" then
        return ("confirm %s, or release %s"):format(value.order, value.order)
    elseif value.order and value.status == "booked" then
        return ("explain %s, or cancel %s"):format(value.order, value.order)
    elseif value.order and first and first.event then
        return ("seats %s --full"):format(first.event)
    elseif value.removed and value.event then
        return "events"
    elseif value.event and value.status and value.counts then
        return ("seats %s --full"):format(value.event)
    elseif value.chart and value.rows and value.seats then
        return ("add-event EVENT %s"):format(value.chart)
    end
end

local AREA_COLUMNS = { "area", "category", "capacity", "free", "held", "booked" }

-- A list of things that have members, and are no places of an order: a table of its own, below the pairs.
local function is_table(value)
    local first = type(value) == "table" and value[1]
    return type(first) == "table" and not is_list(first) and not (first.seat or first.area and not first.capacity)
end

local function pairs_table(context, value, wanted)
    local widest, lines = 0, {}
    local columns, seen = {}, {}
    for _, list in ipairs { wanted, columns_of({ value }) } do -- those wanted come first
        for _, name in ipairs(list) do
            if not seen[name] and value[name] ~= nil then columns[#columns + 1] = name end
            seen[name] = true
        end
    end
    for _, name in ipairs(columns) do widest = math.max(widest, width_of(name)) end
    local follow = not context.piped and next_of(value)
    if follow then widest = math.max(widest, 4) end
    local free = value.order and value.price == 0 -- nothing to say of money
    local below = {}
    for _, name in ipairs(columns) do
        local text = cell(context, name, value[name])
        local hidden = text == "" or (free and (name == "price" or name == "lines"))
        if is_table(value[name]) and not hidden then
            below[#below + 1] = name
        elseif not hidden then
            field(context, lines, name, widest, text)
        end
    end
    for _, name in ipairs(below) do
        lines[#lines + 1] = name .. ":"
        local inner = columns_of(value[name], name == "areas" and AREA_COLUMNS or nil)
        lines[#lines + 1] = "  " .. grid(context, value[name], inner):gsub("\n", "\n  ")
    end
    if follow then field(context, lines, "next", widest, follow) end
    return table.concat(lines, "\n")
end

-- ---- Seat maps ------------------------------------------------------------------

local function seats(context, value)
    if value.rows then return table.concat(seat_map.draw(context, value), "\n") end
    local lines, rows = seat_map.counts(context, value), {}
    seat_map.areas(context, value, lines)
    for _, name in ipairs(sorted_keys(value.taken or {})) do
        rows[#rows + 1] = { seat = name, status = value.taken[name] }
    end
    if #rows > 0 then
        lines[#lines + 1] = grid(context, rows, { "seat", "status" })
    elseif seat_map.has_seats(value) then
        lines[#lines + 1] = "every seat is free; `seats " .. value.event .. " --full` draws the map"
    end
    return table.concat(lines, "\n")
end

-- ---- Formats ----------------------------------------------------------------------

--- A text for people: lines that are too long go on under the second column of a list such as
--- `help`, or a little to the right.
local function prose(context, text)
    text = text:gsub("[^%C\n\t]", "?")
    if context.piped or width_of(text) <= context.width then return text end
    local lines = {}
    for line in (text .. "\n"):gmatch("(.-)\n") do
        if width_of(line) <= context.width then
            lines[#lines + 1] = line
        else
            local left = line:match("^%s*%S.-%s%s+") or line:match("^%s*")
            if width_of(left) > context.width // 2 then left = line:match("^%s*") end
            local indent = left:find("%S") and width_of(left) or #left + 4
            local rest = line:sub(#left + 1)
            for i, part in ipairs(width.wrap(rest, math.max(8, context.width - indent))) do
                lines[#lines + 1] = (i == 1 and left or (" "):rep(indent)) .. part
            end
        end
    end
    return table.concat(lines, "\n")
end

--- A list of things, and below it how it goes on if it was cut.
local function list_table(context, rows, columns)
    local rest = rest_of(rows)
    if rest then rows = table.move(rows, 1, #rows - 1, 1, {}) end
    rows = with_event(rows)
    local legend
    rows, columns = flat(rows, columns_of(rows, columns))
    if not context.piped then rows, columns, legend = with_areas(rows, columns) end
    local text = grid(context, rows, columns) .. (legend and "\n" .. legend or "")
    return rest and ("%s\nmore: %s"):format(text, rest) or text
end

--- What an answer of several orders says beside them: of a dry run, that it was one.
local function beside_orders(value)
    local rest = {}
    for key, item in pairs(value) do
        if key ~= "orders" and key ~= "index" then rest[key] = item end
    end
    return rest
end

local function as_table(context, value, columns)
    if type(value) == "string" then return prose(context, value) end
    if value == nil then return "nil" end
    if type(value) ~= "table" then return cell(context, "", value) end
    if value.event and value.counts and (value.taken or value.rows) then return seats(context, value) end
    if is_list(value) then
        if #value == 0 then return "(none)" end
        if type(value[1]) == "table" and not is_list(value[1]) then
            return list_table(context, value, columns)
        end
        local lines = {}
        for i, item in ipairs(value) do lines[i] = cell(context, "", item) end
        return table.concat(lines, "\n")
    end
    local inner = value.orders
    if type(inner) == "table" and is_list(inner) then
        local text, rest = as_table(context, inner, columns), beside_orders(value)
        return next(rest) and text .. "\n" .. pairs_table(context, rest, {}) or text
    end
    return pairs_table(context, value, columns)
end

local function csv_cell(text)
    if text:find('[",\n\r]') then return '"' .. text:gsub('"', '""') .. '"' end
    return text
end

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function json_text(value)
    if type(value) == "string" then
        return '"' .. value:gsub('[%c"\\]', function(c) return ESCAPES[c] or ("\\u%04x"):format(c:byte()) end) .. '"'
    elseif type(value) ~= "table" then
        return tostring(value)
    end
    local parts = {}
    if is_list(value) then
        for i, item in ipairs(value) do parts[i] = json_text(item) end
        return "[" .. table.concat(parts, ",") .. "]"
    end
    for _, key in ipairs(sorted_keys(value)) do
        parts[#parts + 1] = json_text(tostring(key)) .. ":" .. json_text(value[key])
    end
    return "{" .. table.concat(parts, ",") .. "}"
end

--- One value for a program: words of a list apart by blanks, anything deeper as JSON.
local function csv_value(context, key, value)
    if type(value) ~= "table" then return cell(context, key, value) end
    if not is_list(value) then return json_text(value) end
    for _, item in ipairs(value) do
        if type(item) == "table" and not (item.seat or item.area) then return json_text(value) end
    end
    return cell(context, key, value)
end

--- The answer of `seats` as rows: one a seat, one a status of an area.
local function seat_rows(value)
    local rows, columns = {}, { "event", "index", "seat", "status", "count" }
    local function add(row)
        row.event, row.index = value.event, value.index
        row.count = row.count or 1
        rows[#rows + 1] = row
    end
    if value.rows then columns = { "event", "index", "section", "row", "seat", "status", "count", "category" } end
    for _, row in ipairs(value.rows or {}) do
        for _, seat in ipairs(row.seats) do
            add { section = row.section, row = row.row, seat = seat.seat, status = seat.status,
                category = seat.category }
        end
    end
    for _, name in ipairs(value.rows and {} or sorted_keys(value.taken or {})) do
        add { seat = name, status = value.taken[name] }
    end
    for _, area in ipairs(value.areas or {}) do
        local held, booked = area.held or 0, area.booked or 0
        local counts = { free = area.capacity - held - booked, held = held, booked = booked }
        for _, status in ipairs(COUNTS) do
            if (counts[status] or 0) > 0 then
                add { seat = area.area, status = status, count = counts[status], category = area.category }
            end
        end
    end
    return rows, columns
end

--- The orders of an answer, each with what it says beside them.
local function order_rows(value)
    local rows = {}
    if type(value.orders[1]) ~= "table" then return value.orders end
    for i, order in ipairs(value.orders) do
        rows[i] = beside_orders(value)
        for key, item in pairs(order) do rows[i][key] = item end
    end
    return rows
end

--- Without `header` only the rows.
local function as_csv(context, value, columns, header)
    if type(value) == "table" and value.event and value.counts and (value.taken or value.rows) then
        value, columns = seat_rows(value)
    elseif type(value) == "table" and value.orders and is_list(value.orders) then
        value = order_rows(value)
    end
    local rows = is_list(value) and value or { value }
    if type(rows[1]) ~= "table" and not (columns and #columns > 0) then
        local lines = {}
        for i, item in ipairs(rows) do lines[i] = csv_cell(cell(context, "", item)) end
        return table.concat(lines, "\n")
    end
    rows = with_event(rows)
    rows, columns = flat(rows, columns_of(rows, columns))
    local function line(get)
        local parts = {}
        for j, name in ipairs(columns) do parts[j] = csv_cell(get(name)) end
        return table.concat(parts, ",")
    end
    local lines = {}
    if header ~= false then lines[1] = line(function(name) return name end) end
    for _, row in ipairs(rows) do
        lines[#lines + 1] = line(function(name) return csv_value(context, name, row[name]) end)
    end
    return table.concat(lines, "\n")
end

local RESERVED = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return then true
    until while]]):gmatch("%a+") do RESERVED[word] = true end

local function lua_key(key)
    local plain = type(key) == "string" and key:match("^[%a_][%w_]*$")
    return plain and not RESERVED[plain] and plain or ("[%q]"):format(key)
end

local function as_lua(value, indent)
    if type(value) == "string" then return ("%q"):format(value):gsub("\\\n", "\\n") end
    if type(value) ~= "table" then return tostring(value) end
    if next(value) == nil then return "{}" end
    local inner, lines = indent .. "  ", {}
    if is_list(value) then
        for _, item in ipairs(value) do lines[#lines + 1] = inner .. as_lua(item, inner) end
    else
        for _, key in ipairs(sorted_keys(value)) do
            lines[#lines + 1] = ("%s%s = %s"):format(inner, lua_key(key), as_lua(value[key], inner))
        end
    end
    return "{\n" .. table.concat(lines, ",\n") .. "\n" .. indent .. "}"
end

M.cell, M.csv_cell, M.columns_of, M.as_csv, M.as_lua = cell, csv_cell, columns_of, as_csv, as_lua

--- Renders one answer.
---@param text string the answer as JSON
---@param value any the same, decoded
---@param columns string[] wanted columns, may be empty
---@param context { format: string, width: integer, height: integer, colour: boolean, piped: boolean }
---@return string # without a final newline
function M.render(text, value, columns, context)
    if context.format == "json" then return text end
    if context.format == "lua" then return as_lua(value, "") end
    if context.format == "csv" then return as_csv(context, value, columns) end
    return as_table(context, value, columns)
end

return M
