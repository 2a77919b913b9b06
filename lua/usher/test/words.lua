--- Command lines in tests: words, as the console splits them.
local M = {}

--- Splits a line at blanks; '..' and ".." quote, a word that begins with { or [ is JSON.
---@param line string
---@return string[]
function M.split(line)
    local out, at = {}, 1
    while true do
        at = line:find("%S", at)
        if not at then return out end
        local first = line:sub(at, at)
        local word, stop
        if first == "{" or first == "[" then
            word, stop = line:match(first == "{" and "^(%b{})()" or "^(%b[])()", at)
        elseif first == "'" or first == '"' then
            word, stop = line:match("^" .. first .. "([^" .. first .. "]*)" .. first .. "()", at)
        else
            word, stop = line:match("^(%S+)()", at)
        end
        if not word then error("a quote or bracket is not closed: " .. line, 0) end
        out[#out + 1] = word
        at = stop
    end
end

--- Level of the first stack frame outside these helpers, for error() in the caller, and its file.
---@return integer level, string|nil path
function M.caller()
    local level = 2
    while true do
        local info = debug.getinfo(level, "S")
        if not info then return 1, nil end
        local ours = info.what == "C" or info.source:find("usher/test", 1, true)
        if not ours then return level - 1, info.source:match("^@(.+)$") end
        level = level + 1
    end
end

--- Fails the running test at the spec's own line.
---@param message string
function M.fail(message)
    local level = M.caller()
    local luassert = package.loaded["luassert"]
    if luassert then
        luassert(false, message, luassert:level(level))
    end
    error(message, level)
end

return M
