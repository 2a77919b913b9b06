--- help: what commands there are and how each is used.
local node = ...

local function argument_lines(definition)
    local lines, width = {}, 0
    for _, argument in ipairs(definition.args) do width = math.max(width, #argument.name) end
    for _, argument in ipairs(definition.args) do
        local name = (argument.option and "--" or "") .. argument.name
        lines[#lines + 1] = ("  %-" .. width + 2 .. "s  %-9s %s"):format(name, argument.type,
            argument.help or table.concat(argument.choices or {}, ", "))
    end
    return table.concat(lines, "\n")
end

-- What every command of its kind takes besides.
local function common_options(definition)
    if definition.kind == "node" then return nil end
    if definition.read then
        return "every read also takes --linearizable, --min-index N (of an answer), --local (of any age)"
    end
    return "every transaction also takes --request ID (repeated, it has one effect), --dry-run (no effect)"
end

local function help_one(definition)
    local parts = { definition.usage, definition.summary }
    if #definition.args > 0 then parts[#parts + 1] = argument_lines(definition) end
    parts[#parts + 1] = common_options(definition)
    parts[#parts + 1] = "access: " .. definition.access
    if definition.example then parts[#parts + 1] = "example: " .. definition.example end
    return table.concat(parts, "\n")
end

local function help_group(group)
    local lines = {}
    for _, definition in ipairs(node.commands()) do
        if not group or definition.group == group then
            lines[#lines + 1] = ("%-16s %s"):format(definition.name, definition.summary)
        end
    end
    return #lines > 0 and table.concat(lines, "\n") or nil
end

-- What is wanted first comes first; groups that other scripts bring stand before `classic`.
local GROUPS = { "events", "orders", "values", "policy", "cluster", "scripts", "session" }
local PLACE = { classic = #GROUPS + 2 }
for i, name in ipairs(GROUPS) do PLACE[name] = i end

local function help_all()
    local groups, names = {}, {}
    for _, definition in ipairs(node.commands()) do
        local group = definition.group or "other"
        if not groups[group] then
            groups[group] = {}
            names[#names + 1] = group
        end
        table.insert(groups[group], definition.name)
    end
    table.sort(names, function(a, b)
        local x, y = PLACE[a] or #GROUPS + 1, PLACE[b] or #GROUPS + 1
        if x ~= y then return x < y end
        return a < b
    end)
    local lines = {}
    for _, group in ipairs(names) do
        lines[#lines + 1] = ("%-10s %s"):format(group, table.concat(groups[group], " "))
    end
    lines[#lines + 1] = "`help COMMAND` or `help GROUP` says more; any other line is Lua."
    return table.concat(lines, "\n")
end

--- How many letters two words differ in; words far apart count as 99.
local function distance(a, b)
    if math.abs(#a - #b) > 3 then return 99 end
    local before, row = nil, {}
    for j = 0, #b do row[j] = j end
    for i = 1, #a do
        local next_row = { [0] = i }
        for j = 1, #b do
            local cost = a:byte(i) == b:byte(j) and 0 or 1
            next_row[j] = math.min(row[j] + 1, next_row[j - 1] + 1, row[j - 1] + cost)
            if before and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
                next_row[j] = math.min(next_row[j], before[j - 2] + 1)
            end
        end
        before, row = row, next_row
    end
    return row[#b]
end

local function nearest(topic)
    local best, best_distance = nil, math.max(1, #topic // 3) + 1
    for _, definition in ipairs(node.commands()) do
        for _, name in ipairs { definition.name, definition.group or "", table.unpack(definition.aliases or {}) } do
            local d = distance(topic, name)
            if d < best_distance then best, best_distance = name, d end
        end
    end
    return best
end

local function unknown(topic)
    local near = nearest(topic:lower())
    return nil, ("there is no command or group `%s`"):format(topic), "NOTFOUND",
        near and ("did you mean `%s`?"):format(near) or "`help` lists all"
end

local function complete(_, prefix)
    local list, seen = {}, {}
    for _, definition in ipairs(node.commands()) do
        for _, name in ipairs { definition.name, definition.group or "other" } do
            if name:sub(1, #prefix) == prefix and not seen[name] then
                seen[name] = true
                list[#list + 1] = name
            end
        end
    end
    return list
end

return command {
    name = "help", kind = "node", group = "session", access = "public",
    summary = "Commands, one command, or the commands of a group", example = "help hold",
    args = { { "topic", "string", optional = true, complete = complete, help = "a command or a group" } },
    run = function(_, req)
        if not req.topic then return help_all() end
        local definition = node.command(req.topic:lower())
        if definition then return help_one(definition) end
        local group = help_group(req.topic:lower())
        if group then return group end
        return unknown(req.topic)
    end,
}
