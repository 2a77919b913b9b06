--- Commands about whoever asks: help, the session, scripts at work.
local node = ...

local function find(name)
    for _, definition in ipairs(node.commands()) do
        if definition.name == name then return definition end
        for _, alias in ipairs(definition.aliases or {}) do
            if alias == name then return definition end
        end
    end
end

local function argument_lines(definition)
    local lines, width = {}, 0
    for _, argument in ipairs(definition.args) do width = math.max(width, #argument.name) end
    for _, argument in ipairs(definition.args) do
        local name = (argument.option and "--" or "") .. argument.name
        lines[#lines + 1] = ("  %-" .. width + 2 .. "s  %-9s %s"):format(name, argument.type, argument.help or "")
    end
    return table.concat(lines, "\n")
end

local function help_one(definition)
    local parts = { definition.usage, definition.summary }
    if #definition.args > 0 then parts[#parts + 1] = argument_lines(definition) end
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
    table.sort(names)
    local lines = {}
    for _, group in ipairs(names) do
        lines[#lines + 1] = ("%-10s %s"):format(group, table.concat(groups[group], " "))
    end
    lines[#lines + 1] = "`help COMMAND` or `help GROUP` says more; any other line is Lua."
    return table.concat(lines, "\n")
end

return {
    command {
        name = "help", kind = "node", group = "session", access = "public",
        summary = "Commands, one command, or the commands of a group", example = "help hold",
        args = { { "topic", "string", optional = true } },
        run = function(_, req)
            if not req.topic then return help_all() end
            local definition = find(req.topic:lower())
            if definition then return help_one(definition) end
            local group = help_group(req.topic:lower())
            if group then return group end
            return nil, ("there is no command or group `%s`; `help` lists all"):format(req.topic), "NOTFOUND"
        end,
    },
    command {
        name = "whoami", kind = "node", group = "session", access = "public",
        summary = "The user of this connection, its access level and roles", example = "whoami",
        args = {},
        run = function(ctx) return ctx.user end,
    },
    command {
        name = "config", kind = "node", group = "session", access = "operator",
        summary = "The profile that the node runs with, without its secrets", example = "config",
        args = {},
        run = function() return node.config() end,
    },
    command {
        name = "commands", kind = "node", group = "session", access = "public",
        summary = "Definition of every command, for programs", example = "commands",
        args = {},
        run = function() return node.commands() end,
    },
}
