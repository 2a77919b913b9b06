--- Checks the profiles that config.lua returns and brings one of them into its
--- long form. Pure: gets the table, gives a table or raises one sentence that says
--- what is wrong, where (the full path of the key) and what to do.
local M = {}

local function fail(path, text, ...)
    error({ path = path, message = text:format(...) }, 0)
end

--- Edit distance (Levenshtein), for "did you mean".
local function distance(a, b)
    local row = {}
    for j = 0, #b do row[j] = j end
    for i = 1, #a do
        local diagonal = row[0]
        row[0] = i
        for j = 1, #b do
            local current = math.min(row[j] + 1, row[j - 1] + 1,
                diagonal + (a:byte(i) == b:byte(j) and 0 or 1))
            diagonal, row[j] = row[j], current
        end
    end
    return row[#b]
end

--- The name in `names` nearest to `word`, or nil when none is near.
function M.nearest(word, names)
    local best, least = nil, #word // 3 + 2
    for _, name in ipairs(names) do
        local d = distance(word:lower(), name:lower())
        if d < least then best, least = name, d end
    end
    return best
end

local function sorted_keys(t)
    local keys = {}
    for k in pairs(t) do keys[#keys + 1] = k end
    table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
    return keys
end

local function hint_for(word, names)
    local near = M.nearest(tostring(word), names)
    if near then return ("; did you mean `%s`?"):format(near) end
    return "; known are: " .. table.concat(names, ", ")
end

local function expect(path, value, kind)
    if type(value) ~= kind then
        local article = kind == "integer" and "an" or "a"
        fail(path, "must be %s %s, is a %s", article, kind, type(value))
    end
    return value
end

--- "host:port" or "[v6]:port" -> host, port; raises otherwise.
function M.address(path, text)
    expect(path, text, "string")
    local host, port = text:match("^%[([%x:%.%%%w]+)%]:(%d+)$")
    if not host then host, port = text:match("^([%w%.%-_]+):(%d+)$") end
    local number = tonumber(port)
    if not host or not number or number < 1 or number > 65535 then
        fail(path, "`%s` is no address; write host:port, e.g. localhost:6000", text)
    end
    return host, math.tointeger(number)
end

--- What `env "NAME"` gives when the variable is not set: complained about only if the
--- profile that wants it is the one in use. What is made with it is not set either.
local Unset = {}
Unset.__index = Unset

local function is_unset(value) return getmetatable(value) == Unset end

function Unset.__concat(a, b) return is_unset(a) and a or b end

local function list_of(check)
    return function(path, value)
        expect(path, value, "table")
        local n = 0
        for _ in pairs(value) do n = n + 1 end
        if n ~= #value then fail(path, "must be a plain list") end
        local out = {}
        for i, item in ipairs(value) do
            out[i] = is_unset(item) and item or check(("%s[%d]"):format(path, i), item)
        end
        return out
    end
end

local function string_value(path, value)
    expect(path, value, "string")
    if value == "" then fail(path, "must not be empty") end
    return value
end

local function integer_between(low, high)
    return function(path, value)
        local n = math.type(value) and math.tointeger(value)
        if not n then fail(path, "must be an integer, is a %s", type(value)) end
        if n < low or n > high then fail(path, "must be between %d and %d, is %d", low, high, n) end
        return n
    end
end

local function address_list(path, value)
    local out = list_of(function(p, item)
        M.address(p, item)
        return item
    end)(path, value)
    if #out == 0 then fail(path, "must name at least one node, e.g. { \"localhost:6000\" }") end
    local seen = {}
    for i, item in ipairs(out) do
        if seen[item] then
            fail(("%s[%d]"):format(path, i), "`%s` stands there twice (also at [%d])", item, seen[item])
        end
        seen[item] = i
    end
    return out
end

local LEVELS = { "public", "client", "operator", "admin" }

local function one_level(path, value)
    expect(path, value, "string")
    for _, level in ipairs(LEVELS) do
        if level == value then return value end
    end
    fail(path, "`%s` is no access level%s", value, hint_for(value, LEVELS))
end

--- The `env` function of config.lua: the variable, else the default, else a mark.
---@param getenv fun(name: string): string?
function M.env(getenv)
    return function(name, default)
        if type(name) ~= "string" then error("env needs the name of a variable", 2) end
        return getenv(name) or default or setmetatable({ name = name }, Unset)
    end
end

local function refuse_unset(path, value)
    if type(value) ~= "table" then return end
    if is_unset(value) then
        fail(path, "the environment variable %s is not set; set it, or give env a default", value.name)
    end
    for _, key in ipairs(sorted_keys(value)) do
        local step = math.type(key) and ("[%d]"):format(key) or "." .. key
        refuse_unset(path .. step, value[key])
    end
end

local function check_keys(path, value, fields)
    local names = sorted_keys(fields)
    local out = {}
    for _, key in ipairs(sorted_keys(value)) do
        local check = fields[key]
        if not check then
            fail(("%s.%s"):format(path, tostring(key)), "is no known key%s", hint_for(key, names))
        end
        local item = value[key]
        out[key] = is_unset(item) and item or check(("%s.%s"):format(path, key), item)
    end
    return out
end

local USER = {
    password = string_value,
    access = one_level,
    roles = list_of(string_value),
}

local function user_map(path, value)
    expect(path, value, "table")
    local out = {}
    for _, name in ipairs(sorted_keys(value)) do
        local here = ("%s.%s"):format(path, tostring(name))
        if type(name) ~= "string" then fail(here, "a user needs a name: name = { ... }") end
        local user = check_keys(here, expect(here, value[name], "table"), USER)
        if not user.password then
            fail(here .. ".password", "is missing; write password = env \"SOME_VARIABLE\"")
        end
        user.access = user.access or "client"
        out[name] = user
    end
    return out
end

M.FIELDS = {
    extends = string_value,
    nodes = address_list,
    data = string_value,
    policy = string_value,
    scripts = list_of(string_value),
    lua = string_value,
    secret = string_value,
    users = user_map,
    election_timeout_ms = integer_between(50, 60000),
    snapshot_bytes = integer_between(65536, 1 << 40),
    script_memory_bytes = integer_between(1 << 20, 1 << 30),
    script_instructions = integer_between(1000000, 1 << 50),
    script_file_bytes = integer_between(4096, 1 << 40),
}

local function one_profile(profiles, name, path, seen)
    local value = expect(path, profiles[name], "table")
    if #value > 0 then -- the short form: a list of addresses
        for _, key in ipairs(sorted_keys(value)) do
            if math.type(key) ~= "integer" then
                fail(path, "mixes a plain list with `%s`; write nodes = { ... }", tostring(key))
            end
        end
        return { nodes = address_list(path, value) }
    end
    local own = check_keys(path, value, M.FIELDS)
    if is_unset(own.extends) then return own end -- what it lacks may be there
    if own.extends then
        if seen[own.extends] then fail(path .. ".extends", "`%s` extends itself", own.extends) end
        if profiles[own.extends] == nil then
            fail(path .. ".extends", "there is no profile `%s`%s", own.extends,
                hint_for(own.extends, sorted_keys(profiles)))
        end
        seen[own.extends] = true
        local base = one_profile(profiles, own.extends, own.extends, seen)
        for key, item in pairs(base) do
            if own[key] == nil then own[key] = item end
        end
        own.extends = nil
    end
    if not own.nodes then fail(path .. ".nodes", "is missing; write nodes = { \"localhost:6000\" }") end
    return own
end

--- Checks every profile, then returns the one named, in long form, with `profile` and
--- `profiles` (all names) added.
---@param profiles any what config.lua returned
---@param name string
---@return table
function M.profile(profiles, name)
    if type(profiles) ~= "table" then
        fail("", "must return a table of profiles, returns a %s", type(profiles))
    end
    local names = sorted_keys(profiles)
    if #names == 0 then fail("", "returns no profile; add default = { \"localhost:6000\" }") end
    for _, key in ipairs(names) do
        if type(key) ~= "string" then
            fail(tostring(key), "a profile needs a name: default = { ... }")
        end
    end
    local out = {}
    for _, key in ipairs(names) do out[key] = one_profile(profiles, key, key, { [key] = true }) end
    if not out[name] then
        fail("", "there is no profile `%s`%s", name, hint_for(name, names))
    end
    refuse_unset(name, out[name])
    out[name].profile = name
    out[name].profiles = names
    return out[name]
end

return M
