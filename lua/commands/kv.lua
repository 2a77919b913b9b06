--- The policy's own values: get, set, keys.
local shared = require "usher.shared"

--- A value is JSON; a plain word stands for itself, so that `set mode strict` works.
local function value_of(text)
    local value, message = json.decode(text)
    if value ~= nil or text == "null" then return value end
    if message and text:find('^%s*[%[{"]') then deny { code = "BADARG", message = "value: " .. message } end
    return text
end

local function key_of(text)
    if text == "" or #text > 512 or text:find("[%c]") then
        deny { code = "BADARG", message = "a key has 1 to 512 printable bytes" }
    end
    return text
end

local function set(tx, req)
    local key = key_of(req.key)
    local value = req.value and value_of(req.value)
    tx:set(key, value)
    return { key = key, value = value }
end

local function get(tx, req)
    local value = tx:get(key_of(req.key))
    if value == nil then
        deny { code = "NOTFOUND", message = ("nothing is kept under '%s'"):format(req.key) }
    end
    return { key = req.key, value = value }
end

local function keys(tx, req)
    local list = tx:keys(req.prefix, req.after, shared.LIST_MAX)
    local last = list[#list]
    local more = #list == shared.LIST_MAX and #tx:keys(req.prefix, last, 1) > 0
    return shared.list(list, more, more and ("keys '%s' --after '%s'"):format(req.prefix, last))
end

return {
    command {
        name = "get", group = "values", kind = "transaction", access = "operator",
        read = "linearizable", summary = "Show a value that the policy keeps", example = "get presale",
        args = { { "key", "string", help = "a key of the policy's own data" } },
        run = get,
    },
    command {
        name = "set", group = "values", kind = "transaction", access = "operator",
        summary = "Keep a value for the policy; without a value, drop it",
        example = "set presale '{\"codes\":[\"FAN\"]}'",
        args = { { "key", "string", help = "a key of the policy's own data" },
            { "value", "string", optional = true, help = "JSON, or a plain word" } },
        run = set,
        again = function(tx, req) return { key = req.key, value = tx:get(req.key) } end,
    },
    command {
        name = "keys", group = "values", kind = "transaction", access = "operator", read = "local",
        summary = "List the keys that begin with a prefix", example = "keys pre",
        args = { { "prefix", "string", default = "", help = "what the keys begin with" } },
        options = { { "after", "string", meta = "KEY", help = "go on behind this one" } },
        run = keys,
    },
}
