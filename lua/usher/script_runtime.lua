--- What node scripts, console statements and node commands see (docs/lua.md, 4), on top
--- of the few functions that C provides in `host`:
---   host.call(word, ...)      runs a command; yields; -> answer | nil, message, code, hint
---   host.emit(kind, text, columns)   output of this task; yields while its reader is slow
---   host.define(name)         a command's definition as a table, or nil
---   host.sleep(ms), host.exit(status), host.now(), host.log(level, text)
local host = ...
local M = {}

local function word(value)
    if type(value) == "table" then return json.encode(value) end
    return tostring(value)
end

--- Positional and named arguments of a call by table -> plain words.
local function words_of(name, arguments)
    local definition = host.define(name)
    local words = { name }
    if not definition then -- the service says what is wrong, with the nearest name
        for _, value in ipairs(arguments) do words[#words + 1] = word(value) end
        return words
    end
    local given = {}
    for key, value in pairs(arguments) do given[key] = value end
    local options = {}
    local function add(list, value)
        if type(value) == "table" and json.is_list(value) then
            for _, item in ipairs(value) do list[#list + 1] = word(item) end
        else
            list[#list + 1] = word(value)
        end
    end
    local at = 1
    for _, argument in ipairs(definition.args) do
        local key = argument.name:gsub("-", "_")
        local value = given[key]
        given[key] = nil
        if argument.option then
            if value ~= nil and value ~= false then
                for _, item in ipairs(argument.many and type(value) == "table" and value or { value }) do
                    options[#options + 1] = "--" .. argument.name
                    if argument.type ~= "bool" then options[#options + 1] = word(item) end
                end
            end
        elseif value ~= nil then
            if argument.type == "json" and type(value) == "table" then value = json.encode(value) end
            add(words, value)
        else
            while given[at] ~= nil do
                words[#words + 1] = word(given[at])
                given[at] = nil
                at = at + 1
                if not argument.many then break end
            end
        end
    end
    for _, common in ipairs { "request", "dry_run", "min_index", "local", "linearizable" } do
        local value = given[common]
        given[common] = nil
        if value then
            options[#options + 1] = "--" .. common:gsub("_", "-")
            if value ~= true then options[#options + 1] = word(value) end
        end
    end
    local unknown = next(given)
    if unknown ~= nil then
        error(("%s takes no argument `%s`"):format(name, tostring(unknown)), 3)
    end
    table.move(options, 1, #options, #words + 1, words)
    return words
end

local function call(name, first, ...)
    if type(first) == "table" and select("#", ...) == 0 then
        return host.call(table.unpack(words_of(name, first)))
    end
    if first == nil then return host.call(name) end
    local words = table.pack(name, first, ...)
    for i = 1, words.n do words[i] = word(words[i]) end
    return host.call(table.unpack(words, 1, words.n))
end

M.usher = setmetatable({ call = call }, {
    __index = function(_, key)
        if type(key) ~= "string" then return nil end
        local name = key:gsub("_", "-")
        return function(...) return call(name, ...) end
    end,
    __newindex = function() error("usher is read-only", 2) end,
    __metatable = false,
})

function M.print(...)
    local parts = table.pack(...)
    for i = 1, parts.n do parts[i] = tostring(parts[i]) end
    host.emit("out", table.concat(parts, "\t", 1, parts.n) .. "\n")
end

function M.show(value, options)
    local columns = options and options.columns
    host.emit("value", json.encode(value), columns and json.encode(json.list(columns)) or "")
end

local UNITS = { ms = 1, s = 1000, m = 60000, h = 3600000, d = 86400000 }

function M.sleep(duration)
    local ms
    if type(duration) == "number" then
        ms = duration * 1000
    else
        local number, unit = tostring(duration):match("^(%d+)(%a*)$")
        ms = number and tonumber(number) * (unit == "" and 1000 or UNITS[unit] or -1)
    end
    if not ms or ms < 0 then error("sleep takes seconds or \"15m\", \"2h\"", 2) end
    host.sleep(math.tointeger(ms // 1))
end

function M.exit(status) host.exit(status == nil and 0 or status) end
function M.now() return host.now() end

M.log = {}
for _, level in ipairs { "debug", "info", "warn", "error" } do
    M.log[level] = function(...)
        local parts = table.pack(...)
        for i = 1, parts.n do parts[i] = tostring(parts[i]) end
        host.log(level, table.concat(parts, " ", 1, parts.n))
    end
end

local function refuse(message, code, hint)
    error({ code = code or "INTERNAL", message = message, hint = hint }, 0)
end

--- Echoes the values of a console statement. `nil, message, CODE` is a refusal.
local function echo(results)
    if results[1] == nil and type(results[2]) == "string" and type(results[3]) == "string" then
        refuse(results[2], results[3], results[4])
    end
    for i = 1, results.n do
        local value = results[i]
        if value ~= nil then
            local ok, text = pcall(json.encode, value)
            if ok then
                host.emit("value", text, "")
            else
                host.emit("out", tostring(value) .. "\n")
            end
        end
    end
    return results[1]
end

--- Runs a compiled console line; `remember` gets its first value.
function M.statement(chunk, remember)
    local value = echo(table.pack(chunk()))
    if value ~= nil then remember(value) end
end

--- Runs a console line that is a command.
function M.command(remember, ...)
    local answer, message, code, hint = host.call(...)
    if answer == nil then refuse(message, code, hint) end
    host.emit("value", json.encode(answer), "")
    remember(answer)
end

--- Runs a node command; what it returns, or else what it printed, is the answer.
function M.node_command(run, ctx, req)
    local printed = {}
    function ctx.print(_, ...)
        local parts = table.pack(...)
        for i = 1, parts.n do parts[i] = tostring(parts[i]) end
        printed[#printed + 1] = table.concat(parts, "\t", 1, parts.n)
    end
    function ctx.progress(_, text) host.emit("progress", tostring(text), "") end
    local value, message, code = run(ctx, req)
    if value == nil and type(message) == "string" and type(code) == "string" then refuse(message, code) end
    if value == nil and #printed > 0 then value = table.concat(printed, "\n") end
    if value == nil then value = json.list() end
    return json.encode(value)
end

return M
