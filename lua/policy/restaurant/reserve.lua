--- reserve EVENT CUSTOMER GUESTS: the smallest free table where they all fit, whole. The event is an
--- evening, the chart's tables are the tables.
local function free_tables(event, guests)
    local sizes, names = {}, {}
    for _, row in ipairs(event:rows()) do
        for i = 1, #row do
            local name = row[i].table
            if name and name ~= "bar" and not sizes[name] then
                local seats, free = event:table(name), true
                for _, seat in ipairs(seats) do free = free and seat.status == "free" end
                sizes[name] = free and #seats or 0
                if sizes[name] >= guests then names[#names + 1] = name end
            end
        end
    end
    table.sort(names, function(a, b) return sizes[a] < sizes[b] end)
    return names
end

local function reserve(tx, req)
    if req.guests < 1 then deny { code = "BADARG", message = "guests: at least 1" } end
    local name = free_tables(req.event, req.guests)[1]
    if not name then
        deny { code = "TAKEN", message = ("no table for %d is free"):format(req.guests),
            hint = "another evening, or the bar" }
    end
    return tx:take { customer = req.customer, seats = req.event:table(name),
        metadata = json.encode { table = name, guests = req.guests } }
end

return command {
    name = "reserve", group = "orders", kind = "transaction", access = "client",
    summary = "Book the smallest table where all guests fit", example = "reserve friday ann 3",
    args = { { "event", "event" }, { "customer", "customer" }, { "guests", "int" } },
    run = reserve,
}
