--- Writes what was sold into files/report-DATE.csv of the node that leads, every night at HOUR, and
--- on demand with the command `report`. Put into the profile:
---     scripts = { "lua/hooks/nightly-report.lua" }
local HOUR = 2 -- UTC

local function quoted(value)
    local text = tostring(value == nil and "" or value)
    return text:find('[,"\n]') and '"' .. text:gsub('"', '""') .. '"' or text
end

--- "2026-05-01" of a moment in ms (the civil date of a day number; the algorithm is H. Hinnant's).
local function date(ms)
    local z = ms // 86400000 + 719468
    local era = z // 146097
    local doe = z - era * 146097
    local yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
    local doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    local mp = (5 * doy + 2) // 153
    local month = mp < 10 and mp + 3 or mp - 9
    return ("%04d-%02d-%02d"):format(yoe + era * 400 + (month <= 2 and 1 or 0), month, doy - (153 * mp + 2) // 5 + 1)
end

local COLUMNS = { "event", "status", "free", "held", "booked", "blocked", "orders", "revenue", "currency" }

local function sold(event)
    local orders, revenue, currency, after = 0, 0, nil, nil
    repeat
        local list = assert(usher.call("orders", "--event", event, "--status", "booked", "--limit", 500,
            "--linearizable", table.unpack(after and { "--after", after } or {})))
        after = nil
        for _, order in ipairs(list) do
            if order.order then
                orders, after, currency = orders + 1, order.order, order.currency or currency
                for _, line in ipairs(order.lines) do
                    if line.event == event then revenue = revenue + line.total end
                end
            end
        end
    until not after
    return orders, revenue, currency
end

local function rows()
    local out, after = json.list(), nil
    repeat
        local list = assert(usher.call("events", "--linearizable", table.unpack(after and { "--after", after } or {})))
        after = nil
        for _, event in ipairs(list) do
            if event.event then
                after = event.event
                local orders, revenue, currency = sold(event.event)
                out[#out + 1] = { event = event.event, status = event.status, free = event.counts.free,
                    held = event.counts.held, booked = event.counts.booked, blocked = event.counts.blocked,
                    orders = orders, revenue = revenue, currency = currency }
            end
        end
    until not after
    return out
end

local function csv(list)
    local lines = { table.concat(COLUMNS, ",") }
    for i, row in ipairs(list) do
        local cells = {}
        for k, name in ipairs(COLUMNS) do cells[k] = quoted(row[name]) end
        lines[i + 1] = table.concat(cells, ",")
    end
    return table.concat(lines, "\n") .. "\n"
end

local function write(day)
    local file = ("report-%s.csv"):format(day)
    local done, message, code = append(file, csv(rows()))
    if not done then return nil, message, code end
    return { file = file }
end

local last -- the day that has its report: once a night, also when the leader changed
every("1m", function()
    local day = date(now())
    if (now() // 3600000) % 24 == HOUR and last ~= day then
        last = day
        assert(write(day))
    end
end, { where = "leader" })

return command {
    name = "report", kind = "node", group = "scripts", access = "operator",
    summary = "What was sold, per event; with --write into files/ of this node as well", example = "report --write",
    args = {}, options = { write = { "bool", help = "also append it to files/report-DATE.csv" } },
    run = function(_, req)
        if req.write then
            local done, message, code = write(date(now()))
            if not done then return nil, message, code end
        end
        return rows(), { columns = COLUMNS }
    end,
}
