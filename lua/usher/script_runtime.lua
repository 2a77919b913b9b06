--- What node scripts, console statements and node commands see (docs/lua.md, 4), on top
--- of the few functions that C provides in `host`:
---   host.call(word, ...)      runs a command; yields; -> answer | nil, message, code, hint
---   host.ask(word, ...)       the same, but -> answer as JSON, answer | nil, message, code, hint
---   host.emit(kind, text, columns)   output of this task; yields while its reader is slow
---   host.define(name)         a command's definition as a table, or nil
---   host.sleep(ms), host.exit(status), host.now(), host.log(level, text)
---   host.on(name, f, options), host.every(ms, f, options), host.check(name, f)
---   host.next() -> payload of a handler as JSON, how many were missed before it
---   host.guard(f, ...) -> true, ... | false, error value or {message, traceback}
---   host.failed(message)        a handler raised: counted, logged
---   host.append(file, text) -> true | nil, message, code
---   host.zone(name) -> bytes of a time zone's file, or nil
local host, zones = ...
local M = {}

local function word(value)
    if type(value) == "table" then return json.encode(value) end
    return tostring(value)
end

--- The line of a command: what begins like an option among its values is none.
local function line_of(name, options, values)
    local line = { name, table.unpack(options) }
    for _, value in ipairs(values) do
        if value:sub(1, 2) == "--" then
            line[#line + 1] = "--"
            break
        end
    end
    return table.move(values, 1, #values, #line + 1, line)
end

--- Positional and named arguments of a call by table -> plain words.
local function words_of(name, arguments)
    local definition = host.define(name)
    local words = {}
    if not definition then -- the service says what is wrong, with the nearest name
        for _, value in ipairs(arguments) do words[#words + 1] = word(value) end
        return line_of(name, {}, words)
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
    return line_of(name, options, words)
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

--- Seconds as a number, or "500ms", "15m", "2h" -> ms; level: whose mistake it is.
local function milliseconds(duration, what, level)
    local ms
    if type(duration) == "number" then
        ms = duration * 1000
    else
        local number, unit = tostring(duration):match("^(%d+)(%a*)$")
        ms = number and tonumber(number) * (unit == "" and 1000 or UNITS[unit] or -1)
    end
    if not ms or ms < 0 or ms ~= ms or ms > 1e15 then
        error(what .. " takes seconds or \"500ms\", \"15m\", \"2h\"", level + 1)
    end
    return math.tointeger(ms // 1)
end

function M.sleep(duration) host.sleep(milliseconds(duration, "sleep", 2)) end

-- These keep two levels between host and their caller: host names the caller's line.
function M.on(name, f, options) return (host.on(name, f, options)) end
function M.every(duration, f, options) return (host.every(milliseconds(duration, "every", 2), f, options)) end
function M.check(name, f) return (host.check(name, f)) end
function M.append(file, text) return host.append(file, text) end

local zone_files = {}

--- time("2026-05-01 10:00", "Europe/Helsinki") -> ms since 1970; without a zone: UTC.
function M.time(text, zone)
    local seconds = zones.parse(text)
    if not seconds then
        error("time takes \"2026-05-01 10:00\" (seconds may follow) and a zone such as \"Europe/Helsinki\"", 2)
    end
    if zone == nil or zone == "UTC" then return seconds * 1000 end
    if not zone_files[zone] then
        local bytes = type(zone) == "string" and host.zone(zone)
        if not bytes then error(("there is no time zone `%s` on this machine"):format(tostring(zone)), 2) end
        zone_files[zone] = zones.read(bytes)
    end
    local utc = zones.utc(zone_files[zone], seconds)
    if not utc then error(("%s does not exist in %s: the clocks go forward then"):format(text, zone), 2) end
    return utc * 1000
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

--- Echoes values. `nil, message, CODE` is a refusal. With `whole` nil is shown as well: it is what
--- an expression came to.
local function echo(results, whole)
    if results[1] == nil and type(results[2]) == "string" and type(results[3]) == "string" then
        refuse(results[2], results[3], results[4])
    end
    local last = results.n
    while last > 1 and results[last] == nil do last = last - 1 end
    for i = 1, last do
        local value = results[i]
        if value ~= nil or whole then
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
    local value = echo(table.pack(chunk()), true)
    if value ~= nil then remember(value) end
end

--- Runs a whole script; what it returns is shown as a console shows a statement's value.
function M.script(chunk) echo(table.pack(chunk())) end

--- Runs a console line that is a command.
function M.command(remember, ...)
    local text, answer, code, hint = host.ask(...)
    if text == nil then refuse(answer, code, hint) end
    host.emit("value", text, "")
    remember(answer)
end

--- Text of what was raised: a refusal's message, or the error with its place.
local function raised(what)
    if type(what) ~= "table" then return tostring(what) end
    if what[1] then return what[1], what[2] end
    return tostring(what.message or "refused")
end

--- The coroutine of on() and every(): one payload after the other, whatever one of them does.
function M.handler(f)
    while true do
        local text, missed = host.next()
        local payload
        if text ~= "" then
            payload = json.decode(text)
            if missed > 0 then payload.missed = missed end
        end
        local ok, what = host.guard(f, payload)
        if not ok then host.failed((raised(what))) end
    end
end

local CHECK_STATES = { ok = true, warn = true, error = true }

--- A doctor check: status, text, advice as JSON.
function M.check_run(f)
    local status, text, advice = f()
    if not CHECK_STATES[status] then
        error(("a check returns \"ok\", \"warn\" or \"error\", then a text and an advice, not %s"):format(
            tostring(status)), 0)
    end
    host.emit("value", json.encode { status = status, text = text and tostring(text) or nil,
        advice = advice and tostring(advice) or nil }, "")
end

--- A command's own completion: the words that may stand there.
function M.complete_run(f, prefix, ctx)
    local words = json.list()
    for _, candidate in ipairs(f(ctx, prefix) or {}) do
        candidate = tostring(candidate)
        if candidate:sub(1, #prefix) == prefix then words[#words + 1] = candidate end
    end
    host.emit("value", json.encode(words), "")
end

--- What is kept of a command{...}: its functions.
function M.functions(definition)
    local complete = {}
    for key, argument in pairs(definition.args or {}) do
        if type(argument) == "table" and argument.complete then
            complete[type(key) == "string" and key or argument[1]] = argument.complete
        end
    end
    for key, option in pairs(definition.options or {}) do
        if type(option) == "table" and option.complete then
            complete[type(key) == "string" and key or option[1]] = option.complete
        end
    end
    if type(definition.run) ~= "function" then
        error(("command %s: `run` must be a function(ctx, req)"):format(tostring(definition.name)), 0)
    end
    return { run = definition.run, complete = complete }
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
    function ctx.row(_, value) host.emit("row", json.encode(value), "") end
    function ctx.columns(_, list) host.emit("columns", json.encode(json.list(list)), "") end
    function ctx.frame(_, kind, text) host.emit(kind, text, "") end
    ctx.streams = host.listens()
    local value, message, code, hint = run(ctx, req)
    if value ~= nil and type(message) == "table" and message.columns and ctx.streams then
        ctx:columns(message.columns)
    end
    if value == nil and type(message) == "string" and type(code) == "string" then
        refuse(message, code, hint)
    end
    if value == nil and #printed > 0 then value = table.concat(printed, "\n") end
    if value == nil then value = json.list() end
    return json.encode(value)
end

return M
