--- `complete LINE`: what may stand at the end of a console line that is a command. Candidates
--- come from the cluster, read as the user who asks: whoever may not list orders sees none, and
--- whoever may not run a command is told none of its arguments.
local node = ...

local MANY = 2000 -- candidates at most: more help nobody

-- Which seats a command wants, by the status they have now.
local WANTED = {
    hold = { free = true }, book = { free = true }, block = { free = true }, wait = {},
    unblock = { blocked = true }, ["cancel-seat"] = { held = true, booked = true },
}
-- Which orders.
local ORDERS = {
    confirm = { held = true }, extend = { held = true }, release = { held = true },
    cancel = { held = true, booked = true }, move = { held = true, booked = true },
    split = { held = true, booked = true }, swap = { held = true, booked = true },
}

local function starts(text, prefix) return text:sub(1, #prefix) == prefix end

--- Words of a line and the byte at which the last one, which is being typed, begins.
local function split(line)
    local words, at = {}, 1
    while true do
        local from, to, word = line:find("^%s*('[^']*'?)", at)
        if not from then from, to, word = line:find('^%s*("[^"]*"?)', at) end
        if not from then from, to, word = line:find("^%s*(%S+)", at) end
        if not from then break end
        words[#words + 1] = { text = word:gsub("^['\"](.-)['\"]?$", "%1"), from = to - #word }
        at = to + 1
    end
    if #words == 0 or line:find("%s$") then words[#words + 1] = { text = "", from = #line } end
    return words
end

local Items = {}
Items.__index = Items

local function new_items(prefix) return setmetatable({ list = json.list(), prefix = prefix, seen = {} }, Items) end

function Items:add(text, help, open)
    text = tostring(text)
    if starts(text, self.prefix) and not self.seen[text] and #self.list < MANY then
        self.seen[text] = true
        self.list[#self.list + 1] = { text = text, help = help, open = open }
    end
end

-- ---- Candidates by type -------------------------------------------------------------------

local by_type = {}

local function title_of(event)
    local attributes = event.attributes
    if type(attributes) ~= "table" then return event.status end
    local title = attributes.title or attributes.name or attributes.movie or attributes.film
    return title and tostring(title) or event.status
end

function by_type.event(items)
    for _, event in ipairs(usher.events() or {}) do
        if event.event then items:add(event.event, title_of(event)) end
    end
end

function by_type.chart(items)
    for _, chart in ipairs(usher.charts() or {}) do items:add(chart.chart, ("%d seats"):format(chart.seats)) end
end

local function seats_text(order)
    local parts = {}
    for i, seat in ipairs(order.seats or {}) do
        if i > 6 then
            parts[#parts + 1] = "..."
            break
        end
        parts[#parts + 1] = (seat.seat or seat.area) .. (seat.count and "*" .. seat.count or "")
    end
    return table.concat(parts, " ")
end

function by_type.order(items, line)
    local wanted = ORDERS[line.command.name]
    for _, order in ipairs(usher.orders() or {}) do
        if order.order and (not wanted or wanted[order.status]) then
            items:add(order.order, ("%s %s %s"):format(order.status, order.customer, seats_text(order)))
        end
    end
end

function by_type.customer(items)
    for _, order in ipairs(usher.orders() or {}) do
        if order.customer then items:add(order.customer) end
    end
end

function by_type.node(items, line)
    local members = {}
    for _, member in ipairs(usher.nodes() or {}) do members[member.address] = member end
    if line.command.name == "add-node" then -- who is in the profile and not yet in the cluster
        for _, address in ipairs((usher.config() or {}).nodes or {}) do
            if not members[address] then items:add(address, "in the profile, no member") end
        end
        return
    end
    for address, member in pairs(members) do items:add(address, member.leader and "leader" or member.role) end
    table.sort(items.list, function(a, b) return a.text < b.text end)
end

function by_type.bool(items)
    items:add("true")
    items:add("false")
end

--- The event that the line speaks of: the first word that is one.
local function event_of(line)
    for i, argument in ipairs(line.positionals) do
        if argument.type == "event" and line.given[i] then return (line.given[i]:match("^[^,]+")) end
        if argument.name == "events" and line.given[i] then return (line.given[i]:match("^[^,]+")) end
    end
    return line.options.event
end

local function seats_of_order(items, id)
    local order = usher.order { id }
    for _, seat in ipairs(order and order.seats or {}) do
        if seat.seat then items:add(seat.seat, order.status) end
    end
    return order and order.seats and order.seats[1] and order.seats[1].event
end

local function seats_of_event(items, event, wanted, before)
    local view = event and usher.seats { event, full = true }
    for _, row in ipairs(view and view.rows or {}) do
        for _, seat in ipairs(row.seats) do
            if not wanted or wanted[seat.status] then
                items:add(before .. seat.seat, wanted and seat.category or seat.status)
            end
        end
    end
    for _, area in ipairs(view and view.areas or {}) do
        items:add(before .. area.area .. "*", ("%d free"):format(area.capacity - area.held - area.booked), true)
    end
end

function by_type.seat(items, line)
    local event, before = event_of(line), ""
    local range, order = items.prefix:match("^(.+%.%.)"), nil
    local other = items.prefix:match("^([^:]+):")
    if range then
        before = range
    elseif other then
        event, before = other, other .. ":"
    end
    for i, argument in ipairs(line.positionals) do
        if argument.type == "order" then order = line.given[i] end
    end
    if order then
        event = seats_of_order(items, order) or event
        if line.command.name ~= "move" then return end
        seats_of_event(items, event, { free = true }, before)
    else
        seats_of_event(items, event, not range and WANTED[line.command.name] or nil, before)
    end
end

function by_type.category(items, line)
    local event = event_of(line)
    local whole = event and usher.event { event }
    for _, name in ipairs(whole and whole.categories or {}) do items:add(name) end
end

-- ---- A line -----------------------------------------------------------------------------------

--- Keys of the policy's own data that begin so.
local function keys(items)
    for _, key in ipairs(usher.keys { items.prefix } or {}) do
        if type(key) == "string" then items:add(key) end
    end
end

local function tasks(items)
    for _, task in ipairs(usher.ps() or {}) do items:add(task.id, ("%s %s"):format(task.name, task.state)) end
end

-- "command argument" -> candidates that its type alone does not tell.
local BY_PLACE = {
    ["add-event chart"] = by_type.chart, ["add-showtime theater"] = by_type.chart, -- or a whole plan
    ["get key"] = keys, ["set key"] = keys, ["keys prefix"] = keys, ["kill id"] = tasks,
}

--- What the argument's own `complete` gives: a node command's runs here, a policy's in a read on this
--- node. nil when it has none, or fails.
local function own_words(command, argument, prefix)
    if not argument.complete then return nil end
    if command.kind == "node" then return node.complete(command.name, argument.name, prefix) end
    return (usher.complete_argument { name = command.name, argument = argument.name, prefix = prefix })
end

local function candidates(argument, line, items)
    if not node.may(line.command.name) then return end
    local list = BY_PLACE[line.command.name .. " " .. argument.name] or by_type[argument.type]
    if argument.type == "one_of" then
        for _, choice in ipairs(argument.choices or {}) do items:add(choice) end
    end
    local own = own_words(line.command, argument, items.prefix)
    for _, text in ipairs(own or {}) do items:add(text) end
    if list and not own then list(items, line) end
    if (argument.default or "") ~= "" then items:add(argument.default, "default") end
end

local function describe(argument)
    local name = argument.option and "--" .. argument.name or argument.name
    return ("%s: %s%s"):format(name, argument.type, argument.help and ", " .. argument.help or "")
end

--- Sorts the finished words into positionals and options.
local function read_line(command, words)
    local line = { command = command, positionals = {}, given = {}, options = {}, waiting = nil }
    for _, argument in ipairs(command.args) do
        if not argument.option then line.positionals[#line.positionals + 1] = argument end
    end
    for i = 2, #words - 1 do
        local word = words[i].text
        if line.waiting then
            line.options[line.waiting.name], line.waiting = word, nil
        elseif starts(word, "--") and #word > 2 then
            local name = word:match("^%-%-([^=]+)")
            line.options[name] = word:match("=(.*)") or true
            for _, argument in ipairs(command.args) do
                if argument.option and argument.name == name and argument.type ~= "bool" and
                    not word:find("=", 1, true) then
                    line.waiting = argument
                end
            end
        else
            line.given[#line.given + 1] = word
        end
    end
    return line
end

local COMMON = {
    { name = "request", type = "string", option = true, help = "an id: sent twice it has one effect" },
    { name = "dry-run", type = "bool", option = true, help = "say what would happen" },
}

local function complete_options(line, items)
    local function add(argument)
        if argument.option and (argument.many or line.options[argument.name] == nil) then
            items:add("--" .. argument.name, argument.help)
        end
    end
    for _, argument in ipairs(line.command.args) do add(argument) end
    if line.command.kind == "transaction" then
        for _, argument in ipairs(COMMON) do add(argument) end
    end
end

local function complete_command(items)
    for _, definition in ipairs(node.commands()) do items:add(definition.name, definition.summary) end
    for _, definition in ipairs(items.prefix ~= "" and node.commands() or {}) do
        for _, alias in ipairs(definition.aliases or {}) do items:add(alias, "the same as " .. definition.name) end
    end
end

local function complete(text)
    local words = split(text)
    local last = words[#words]
    local items = new_items(last.text)
    local answer = { from = last.from, items = items.list }
    if #words == 1 then
        complete_command(items)
        return answer
    end
    local command = node.command(words[1].text:lower())
    if not command then return answer end
    if command.name == "help" then
        complete_command(items)
        for _, definition in ipairs(node.commands()) do items:add(definition.group or "other", "a group") end
        return answer
    end
    local line = read_line(command, words)
    local argument = line.waiting
    if not argument and starts(last.text, "-") then
        complete_options(line, items)
        return answer
    end
    argument = argument or line.positionals[#line.given + 1]
    local final = line.positionals[#line.positionals]
    if not argument and final and final.many then argument = final end
    if argument then
        answer.hint = describe(argument)
        for i = 1, argument.many and #line.given or 0 do items.seen[line.given[i]] = true end
        candidates(argument, line, items)
    elseif last.text == "" then
        complete_options(line, items)
        answer.hint = "nothing has to follow"
    end
    return answer
end

return command {
    name = "complete", kind = "node", group = "session", access = "public",
    summary = "What may stand at the end of a line, as Tab shows it", example = "complete 'hold 1 ann A'",
    args = { { "line", "string", help = "the line up to the cursor" } },
    run = function(_, req) return complete(req.line) end,
}
