--- The commands of the older Python reservation console, as aliases and formatting: a showtime is an
--- event, and everything is done by Usher's own commands with the rights of whoever types. Every node
--- loads this file by itself; it is also the example of how commands of one's own are added: a file
--- like this one, named in the profile's `scripts`, then `scripts reload`.

local function pages(name, ...)
    local words, out, after = table.pack(...), {}
    repeat
        local list, message, code, hint = usher.call(name, table.unpack(words, 1, words.n))
        if not list then return nil, message, code, hint end
        after = nil
        for _, item in ipairs(list) do
            if item.more then
                after = item.next:match("%-%-after (%S+)")
            else
                out[#out + 1] = item
            end
        end
        if after then words = table.pack("--after", after) end
    until not after
    return out
end

local function show_ids(prefix)
    local out = {}
    for i, event in ipairs(pages("events") or {}) do
        if event.event:sub(1, #prefix) == prefix then out[#out + 1] = event.event end
        if i > 1000 then break end
    end
    return out
end

--- The attributes of an event as a table, {} when it has none.
local function attributes(event)
    local value = event.attributes
    if type(value) == "string" then value = json.decode(value) end
    return type(value) == "table" and value or {}
end

local SHOWTIME = { "showtime", "event", help = "id of the showtime",
    complete = function(_, prefix) return show_ids(prefix) end }

--- The words of a command that writes, under the request id of the command that calls it: sent again,
--- it has one effect and the same answer.
local function writing(ctx, name, ...)
    if not ctx.request then return { name, ... } end
    return { name, "--request", ctx.request, ... }
end

local function add_showtime(ctx, req)
    local words = writing(ctx, "add-event", req.showtime, req.theater)
    local given = { title = req.movie, time = req.time }
    if next(given) then
        words[#words + 1] = "--attributes"
        words[#words + 1] = json.encode(given)
    end
    local event, message, code, hint = usher.call(table.unpack(words))
    if not event then return nil, message, code, hint end
    return ("Showtime %s added: %d seats; next: get-state %s"):format(req.showtime, event.counts.free, req.showtime)
end

local function remove_showtime(ctx, req)
    local done, message, code, hint = usher.call(table.unpack(writing(ctx, "remove-event", req.showtime)))
    if not done then return nil, message, code, hint end
    return ("Showtime %s removed"):format(req.showtime)
end

local function get_showtimes()
    local events, message, code, hint = pages("events")
    if not events then return nil, message, code, hint end
    local list = json.list()
    for i, event in ipairs(events) do
        local about = attributes(event)
        list[i] = { id = event.event, movie = about.title, time = about.time, theater = about.theater,
            free = event.counts.free, reserved = event.counts.held + event.counts.booked }
    end
    return list, { columns = { "id", "movie", "time", "theater", "free", "reserved" } }
end

local function reserve_seat(ctx, req)
    local order, message, code, hint = usher.call(table.unpack(writing(ctx, "book", req.showtime, req.user,
        table.unpack(req.seats))))
    if not order then return nil, message, code, hint end
    local seats = {}
    for i, seat in ipairs(order.seats) do seats[i] = seat.seat end
    return ("Seat%s %s of showtime %s %s%s reserved for %s, order %s"):format(#seats > 1 and "s" or "",
        table.concat(seats, ", "), req.showtime, #seats > 1 and "are" or "is", order.already and " already" or "",
        req.user, order.order)
end

--- Per showtime, what is taken: { A1 = "booked", ... }.
local function get_state(_, req)
    local state = json.list()
    local events = { { event = req.showtime } }
    if not req.showtime then
        local message, code, hint
        events, message, code, hint = pages("events")
        if not events then return nil, message, code, hint end
    end
    for i, event in ipairs(events) do
        local seats, why, refusal, advice = usher.call("seats", event.event)
        if not seats then return nil, why, refusal, advice end
        state[i] = { showtime = event.event, reservedSeats = seats.taken, free = seats.counts.free,
            index = seats.index }
    end
    return state, { columns = { "showtime", "free", "reservedSeats" } }
end

local function entries(req)
    return usher.call("log", "--limit", req.count)
end

local function get_logs(_, req)
    local rows, message, code, hint = entries(req)
    if not rows then return nil, message, code, hint end
    local lines = {}
    for i, row in ipairs(rows) do
        lines[i] = row.more and "more: " .. row.next or ("%d: %s"):format(row.index, row.what)
    end
    return table.concat(lines, "\n")
end

local function get_raw_logs(_, req)
    local rows, message, code, hint = entries(req)
    if not rows then return nil, message, code, hint end
    return rows
end

--- The fields that the older system's status had, with their names.
local function get_node_status()
    local status, message, code, hint = usher.call("status")
    if not status then return nil, message, code, hint end
    local out = {
        self = status.address, state = status.role, leader = status.leader, raft_term = status.term,
        commit_idx = status.commit, last_applied = status.applied, log_len = status.last,
        uptime = status.uptime_ms // 1000, version = status.version, partner_nodes_count = 0,
    }
    for _, node in ipairs(usher.call("nodes") or {}) do
        if node.address ~= status.address then
            out.partner_nodes_count = out.partner_nodes_count + 1
            out["partner_node_status_server_" .. node.address] = node.reachable and 2 or 0
        end
    end
    return out
end

local COUNT = { "count", "int", default = "20", help = "how many of the newest entries" }

local function classic(definition)
    definition.kind, definition.group = "node", "classic"
    return command(definition)
end

return {
    classic {
        name = "add-showtime", access = "operator", summary = "Adds a showtime: an event (see add-event)",
        example = "add-showtime 42 theater-1 Metropolis 2026-05-01T20:00",
        args = { { "showtime", "string", help = "id of the new showtime" },
            { "theater", "string", help = "its chart, or rows such as [{\"row\":\"A\",\"seats\":10}]" },
            { "movie", "string", optional = true, help = "title" },
            { "time", "string", optional = true, help = "when" } },
        run = add_showtime,
    },
    classic {
        name = "remove-showtime", access = "operator", summary = "Removes a showtime that nobody has seats of",
        example = "remove-showtime 42", args = { SHOWTIME }, run = remove_showtime,
    },
    classic {
        name = "get-showtimes", access = "public", summary = "All showtimes with their free and reserved seats",
        example = "get-showtimes", args = {}, run = get_showtimes,
    },
    classic {
        name = "reserve-seat", access = "client",
        summary = "Reserves seats of a showtime for a user, at once (see book)",
        example = "reserve-seat 1 ann A1",
        args = { SHOWTIME, { "user", "customer", help = "who gets the seat" },
            { "seats", "string", many = true, meta = "SEAT", help = "such as A1" } },
        run = reserve_seat,
    },
    classic {
        name = "get-state", access = "public", summary = "What is taken, of one showtime or all",
        example = "get-state 1",
        args = { { "showtime", "event", optional = true, help = "id of the showtime",
            complete = function(_, prefix) return show_ids(prefix) end } },
        run = get_state,
    },
    classic {
        name = "get-logs", access = "operator", summary = "The newest log entries in words (see log)",
        example = "get-logs 5",
        args = { COUNT }, run = get_logs,
    },
    classic {
        name = "get-raw-logs", access = "operator", summary = "The newest log entries with all their fields",
        example = "get-raw-logs 5", args = { COUNT }, run = get_raw_logs,
    },
    classic {
        name = "get-node-status", access = "operator", summary = "Status of the node that is asked, in the older names",
        example = "get-node-status", args = {}, run = get_node_status,
    },
}
