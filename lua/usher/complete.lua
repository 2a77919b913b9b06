--- Completion of a console line inside its session: Lua names and fields here, where the
--- session's variables are; commands by the command `complete`.
---   host     the runtime's functions      env       the session's own globals
---   shared   the globals of all scripts   line      the input up to the cursor
local host, env, shared, line = ...

local KEYWORDS = { "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in",
    "local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while" }

local definitions = usher.commands() or {}

local function is_command(text)
    local word, rest = text:match("^%s*([%w_-]+)(.*)$")
    if not word then return false end
    local found
    for _, definition in ipairs(definitions) do
        found = found or definition.name == word:lower()
        for _, alias in ipairs(definition.aliases or {}) do found = found or alias == word:lower() end
    end
    return found and rest:find("^%s") and not rest:find("^%s*[=(%.:,]") and not rest:find('^%s*%[[^%[{"]')
end

local items, seen = json.list(), {}

local function add(text, help, open, prefix)
    if type(text) == "string" and text:sub(1, #prefix) == prefix and not seen[text] then
        seen[text] = true
        items[#items + 1] = { text = text, help = help, open = open }
    end
end

local function describe(value)
    if type(value) == "table" or type(value) == "function" then return type(value) end
    local text = tostring(value):gsub("%c", " ")
    return #text > 40 and text:sub(1, 37) .. "..." or text
end

--- The fields of a value; only tables have some that can be listed.
local function fields(value, prefix)
    if value == usher then
        for _, definition in ipairs(definitions) do
            add(definition.name:gsub("-", "_"), definition.summary, true, prefix)
        end
        add("call", "call(NAME, WORD...)", true, prefix)
        return
    end
    if type(value) == "string" then value = string end
    if type(value) ~= "table" then return end
    for key, field in pairs(value) do
        if type(key) == "string" and key:find("^[%a_][%w_]*$") then add(key, describe(field), true, prefix) end
    end
end

local function names(prefix)
    for _, source in ipairs { env, shared } do
        for key, value in pairs(source) do
            if type(key) == "string" and key:find("^[%a_][%w_]*$") then add(key, describe(value), true, prefix) end
        end
    end
    for _, word in ipairs(KEYWORDS) do
        if prefix ~= "" then add(word, nil, false, prefix) end
    end
end

--- Follows a path such as `a.b[1].` from the globals; nil when it leads nowhere.
local function follow(path)
    local value, first = nil, true
    for name, index in path:gmatch("([%a_][%w_]*)([%[%]%d]*)[%.:]") do
        if first then
            value = env[name]
        else
            value = type(value) == "table" and value ~= usher and value[name] or nil
        end
        first = false
        for number in index:gmatch("%[(%d+)%]") do
            value = type(value) == "table" and value[math.tointeger(tonumber(number))] or nil
        end
    end
    return value
end

--- The arguments of the command that `usher.NAME{` is about to call.
local function named_arguments(text)
    local name, inside = text:match("usher%.([%a_][%w_]*)%s*{([^{}]*)$")
    local prefix = inside and inside:match("[,%s]([%a_][%w_]*)$") or inside and inside:match("^([%a_]*)$") or
        (inside and "")
    if not prefix or inside:find("=%s*[^,]*$") then return nil end
    for _, definition in ipairs(definitions) do
        if definition.name:gsub("-", "_") == name then
            for _, argument in ipairs(definition.args) do
                add(argument.name:gsub("-", "_") .. " =", argument.help or argument.type, false, prefix)
            end
            return prefix
        end
    end
end

local function sorted() table.sort(items, function(a, b) return a.text < b.text end) end

local function complete_lua(text)
    local path = text:match("[%w_%.:%[%]]*$")
    local named = named_arguments(text)
    if named then return #line - #named end
    local base, prefix = path:match("^(.*[%.:])([%w_]*)$")
    if base then
        fields(follow(base), prefix)
    else
        prefix = path:match("[%a_][%w_]*$") or ""
        if prefix ~= "" or text:find("^%s*=%s*$") then names(prefix) end
    end
    sorted()
    return #line - #prefix
end

local answer
local text = line:match("[^\n]*$")
if line:find("\n", 1, true) or not (is_command(line) or line:find("^%s*[%w_-]*$")) then
    answer = { from = complete_lua(text), items = items }
else
    answer = usher.complete { line } or { from = #line, items = items }
    local word = line:match("^%s*([%a_][%w_]*)$")
    if word then -- the first word may be Lua as well
        items = answer.items
        for _, item in ipairs(items) do seen[item.text] = true end
        names(word)
    end
end
host.emit("value", json.encode(answer), "")
